//! The house style, as far as a machine can hold it: reads the repository's text and reports all violations at once.
//!
//! It compiles nothing and starts nothing. What the compiler and clippy check (`unsafe`, length of functions, banned
//! calls) is not repeated here. Words it looks for are put together with `concat!`, so that it does not find itself.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use coxswain_shared::config::is_known;

/// Which crate may name which in its Cargo.toml. `tests` may name all.
const ARROWS: &[(&str, &[&str])] = &[
    ("shared", &[]),
    ("worker", &["shared"]),
    ("scheduler", &["shared"]),
    ("cox", &["shared", "worker", "scheduler"]),
    ("tests", &["shared", "worker", "scheduler", "cox"]),
];

/// The modules of `shared/src` that decide and never do; each a file or a folder, as far as it exists.
const PURE: &[&str] = &[
    "id",
    "time",
    "graph",
    "state",
    "expr",
    "plan",
    "run",
    "attempt",
    "retry",
    "stop",
    "wire",
    "limits",
    "outcome",
    "checkpoint",
    "closest",
    "printable",
];

/// What a pure module must not know.
const IMPURE: &[&str] = &["tokio", "tokio_util", "redis", "lapin", "reqwest", "rusqlite", "deadpool", "deadpool_redis"];

/// File names that say nothing.
const VAGUE: &[&str] = &["util.rs", "utils.rs", "common.rs", "helper.rs", "helpers.rs", "misc.rs"];

const LINES_MAX: usize = 500;

/// For a module's unit tests in a file of their own.
const TEST_LINES_MAX: usize = 700;

/// Folders that are not the project's text.
const SKIPPED: &[&str] = &[".git", "target", "node_modules"];

/// Hosts of package registries and mirrors, and settings that name one: what is fetched from where is each machine's own
/// matter.
const REGISTRIES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
    concat!("proxy.", "golang.org"),
    concat!("replace", "-with"),
    concat!("index", "-url"),
];

/// The one source of crates that the lock file may name.
const CRATES: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A text file of the repository.
struct Source {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// What was found so far, as `file:line: what; remedy`.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn add(&mut self, source: &Source, line: usize, what: &str, remedy: &str) {
        self.0.push(format!("{}:{line}: {what}; {remedy}", source.path.display()));
    }
}

#[test]
fn the_house_is_tidy() {
    let sources = read_all(root());
    assert!(sources.len() > 20, "the repository's files were not found under {}", root().display());
    let mut report = Report::default();
    for source in &sources {
        check_arrows(source, &mut report);
        check_pure(source, &mut report);
        check_rust(source, &mut report);
        check_lua(source, &mut report);
        check_places(source, &mut report);
        check_registries(source, &mut report);
        check_links(source, &mut report);
        check_variables(source, &mut report);
    }
    let mut text = String::new();
    for line in &report.0 {
        let _ = writeln!(text, "{line}");
    }
    assert!(report.0.is_empty(), "{} violations of the house style:\n{text}", report.0.len());
}

/// Each `coxswain-*` key of a crate's dependency tables must be an arrow of the design.
fn check_arrows(source: &Source, report: &mut Report) {
    let allowed = ARROWS.iter().find(|(from, _)| source.path == Path::new(from).join("Cargo.toml"));
    let Some((from, allowed)) = allowed else { return };
    for (number, line) in source.lines() {
        // The crate's own name and description say nothing of what it depends on.
        let is_own = line.starts_with("name") || line.starts_with("description");
        let named = line.split_once("coxswain-").filter(|_| !is_own);
        let Some((_, named)) = named else { continue };
        let to = named.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if !allowed.contains(&to) {
            let what = format!("{from} depends on {to}");
            report.add(
                source,
                number,
                &what,
                "the arrows are shared <- worker, scheduler <- cox <- tests: move the code",
            );
        }
    }
}

fn check_pure(source: &Source, report: &mut Report) {
    let Ok(inner) = source.path.strip_prefix("shared/src") else { return };
    let Some(Component::Normal(first)) = inner.components().next() else { return };
    let module = Path::new(first).file_stem().and_then(|stem| stem.to_str());
    if !source.is("rs") || !module.is_some_and(|module| PURE.contains(&module)) {
        return;
    }
    for (number, line) in source.lines() {
        let code = line.split("//").next().unwrap_or_default();
        for name in IMPURE.iter().filter(|name| names_crate(code, name)) {
            let what = format!("a module of the pure core names {name}");
            report.add(source, number, &what, "decide here on plain data, and do it in an adapter");
        }
    }
}

/// Whether code uses the crate: `name::…`, `use name;` or `use name as`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let is_word = !before.is_some_and(is_word_char) && !after.starts_with(is_word_char);
        is_word && (after.starts_with("::") || code[..at].trim_end().ends_with("use"))
    })
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn check_rust(source: &Source, report: &mut Report) {
    if !source.is("rs") {
        return;
    }
    if !source.text.starts_with("//!") {
        report.add(source, 1, "no module doc", "open with `//!`: what the file is, and what it is not");
    }
    if VAGUE.contains(&source.name()) {
        report.add(source, 1, "the file's name says nothing", "name it for what it holds");
    }
    let lines = source.text.lines().count();
    let max = if source.name() == "tests.rs" { TEST_LINES_MAX } else { LINES_MAX };
    if lines > max {
        let what = format!("{lines} lines, {max} are allowed");
        report.add(source, lines, &what, "split it where its subjects part");
    }
    for (number, line) in source.lines() {
        if line.contains(concat!("#[", "ignore")) {
            report.add(source, number, "an ignored test", "repair it or delete it");
        }
        if line.contains(concat!("fn ", "test_")) {
            report.add(source, number, "a test named for being a test", "name it with a sentence about behaviour");
        }
    }
}

fn check_lua(source: &Source, report: &mut Report) {
    if source.is("lua") && !source.text.starts_with("--") {
        report.add(source, 1, "no header", "open with `--`: what the script reads, writes and returns");
    }
}

/// Nothing names a folder outside the repository, or a path of the machine it was written on.
fn check_places(source: &Source, report: &mut Report) {
    for (number, line) in source.lines() {
        for path in words(line) {
            if path.starts_with('/') && path.trim_start_matches('/').starts_with(concat!("wo", "rk/")) {
                report.add(source, number, &format!("`{path}` is a place on one machine"), "name no such path");
            }
            if path.contains(concat!("../", "shared")) && leaves(source, path) {
                report.add(source, number, &format!("`{path}` is outside the repository"), "name no such path");
            }
        }
    }
}

/// The longest runs of characters that paths are made of.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let is_path_char = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+');
    line.split(move |c: char| !is_path_char(c)).filter(|word| word.contains('/'))
}

fn check_registries(source: &Source, report: &mut Report) {
    let is_lock = source.name() == "Cargo.lock";
    for (number, line) in source.lines() {
        let named = REGISTRIES.iter().find(|host| line.contains(**host));
        if let Some(host) = named {
            let what = format!("names `{host}`");
            report.add(source, number, &what, "where packages come from is the machine's own setting");
        }
        if is_lock && line.starts_with("source = ") && !line.contains(CRATES) {
            report.add(source, number, "a crate from elsewhere", "depend on released crates only");
        }
    }
}

/// Every link of a Markdown file to a local file must resolve inside the repository.
fn check_links(source: &Source, report: &mut Report) {
    if !source.is("md") {
        return;
    }
    let mut is_fenced = false;
    for (number, line) in source.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        }
        if is_fenced {
            continue;
        }
        for target in link_targets(line) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let target = source.path.parent().map(|folder| root().join(folder).join(file));
            if file.starts_with('/') || leaves(source, file) || !target.is_some_and(|target| target.exists()) {
                let what = format!("the link to `{file}` leads nowhere");
                report.add(source, number, &what, "link to a file of the repository, relative to this one");
            }
        }
    }
}

/// Every variable that product code, a page, a manifest or a script names is one that the programs know: it would be
/// refused by them, or read in vain. Tests invent names.
fn check_variables(source: &Source, report: &mut Report) {
    let is_test = |part: Component<'_>| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"));
    if source.path.components().any(is_test) {
        return;
    }
    let before_tests = if source.is("rs") { source.text.find("#[cfg(test)]\nmod tests {") } else { None };
    let until = source.text[..before_tests.unwrap_or(source.text.len())].lines().count();
    for (number, line) in source.lines().take(until) {
        let is_name_char = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        for (at, _) in line.match_indices(concat!("COX", "_")) {
            let name = &line[at..][..line[at..].find(|c| !is_name_char(c)).unwrap_or(line.len() - at)];
            // `COX_STATE_<CHANNEL>` and `COX_…` name a kind; `MY_COX_X` is another's.
            let is_kind = name.ends_with('_') || line[..at].ends_with(is_name_char);
            if !is_kind && !is_known(name) {
                report.add(
                    source,
                    number,
                    &format!("no program knows `{name}`"),
                    "write a known one, or put it into shared/src/config/known.rs",
                );
            }
        }
    }
}

/// The targets of `[text](target)` and `[label]: target`, outside of inline code.
fn link_targets(line: &str) -> Vec<&str> {
    let code_parts = line.split('`').enumerate();
    let prose: Vec<&str> = code_parts.filter(|(index, _)| index % 2 == 0).map(|(_, part)| part).collect();
    let inline = prose.into_iter().flat_map(|part| part.split("](").skip(1));
    let inline = inline.filter_map(|rest| rest.split([')', ' ']).next());
    let label = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    inline.chain(label.and_then(|(_, target)| target.split_whitespace().next())).collect()
}

/// Whether a relative path, seen from the file that names it, leaves the repository.
fn leaves(source: &Source, path: &str) -> bool {
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let mut depth = 0_i32;
    for component in folder.join(path).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// All text files under the folder, sorted by path.
fn read_all(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("the repository can be read").flatten();
        for entry in entries.filter(|entry| !SKIPPED.iter().any(|name| entry.file_name() == *name)) {
            let path = entry.path();
            // A file that is no text has no style.
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("a file lies under its root").to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Runs all checks on one invented file.
fn found(path: &str, text: &str) -> Vec<String> {
    let source = Source { path: path.into(), text: text.into() };
    let mut report = Report::default();
    let checks =
        [check_arrows, check_pure, check_rust, check_lua, check_places, check_registries, check_links, check_variables];
    for check in checks {
        check(&source, &mut report);
    }
    report.0
}

#[test]
fn each_kind_of_violation_is_found() {
    let cases = [
        ("worker/Cargo.toml", "[dependencies]\ncoxswain-scheduler.workspace = true\n"),
        ("shared/Cargo.toml", "[dev-dependencies.coxswain-tests]\npath = \"../tests\"\n"),
        ("shared/src/plan/next.rs", "//! Doc.\nuse tokio::time;\n"),
        ("shared/src/plan.rs", "//! Doc.\nuse redis;\n"),
        ("cox/src/run.rs", "fn main() {}\n"),
        ("cox/src/util.rs", "//! Doc.\n"),
        ("cox/src/run.rs", &format!("//! Doc.\n{}", "\n".repeat(LINES_MAX))),
        ("cox/src/run.rs", concat!("//! Doc.\n#[", "ignore]\n")),
        ("cox/src/run.rs", concat!("//! Doc.\nfn ", "test_it() {}\n")),
        ("shared/src/store/claim.lua", "return 1\n"),
        ("README.md", concat!("See /wo", "rk/notes.\n")),
        ("README.md", concat!("See file:///wo", "rk/notes.\n")),
        ("README.md", concat!("See `../", "shared/NOTES.md`.\n")),
        ("Dockerfile", concat!("ENV MIRROR=https://static.", "crates.io\n")),
        ("Cargo.lock", "source = \"git+https://example.com/fork\"\n"),
        ("README.md", "See [this](no/such/file.md#part).\n"),
        ("README.md", "[label]: no/such/file.md\n"),
        ("docs/operations.md", "Set `COX_SLOTZ`.\n"),
        ("worker/src/config.rs", "//! Doc.\nconst ID: &str = \"COX_WORKER_IDD\";\n"),
    ];
    for (path, text) in cases {
        assert_eq!(found(path, text).len(), 1, "in {path}:\n{text}\nfound {:?}", found(path, text));
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    let cases = [
        ("cox/Cargo.toml", "[dependencies]\ncoxswain-worker.workspace = true\n"),
        ("shared/src/plan.rs", "//! Doc.\n// tokio::time is not used here.\nlet redis_keys = 1;\n"),
        ("shared/src/store.rs", "//! Doc.\nuse redis::Script;\n"),
        ("shared/src/store/tests.rs", &format!("//! Doc.\n{}", "\n".repeat(LINES_MAX))),
        ("docs/store.md", concat!("See [the port](../", "shared/src/lib.rs).\n")),
        ("docs/store.md", "See [home](https://example.com/work/there), [below](#part), `[x](y)`.\n"),
        ("docs/store.md", "```\n[an example](of/a/link)\n```\n"),
        ("docs/operations.md", "Set `COX_SLOTS`, `COX_STATE_<CHANNEL>` or `COX_…`, not `COX_BROKER_*`.\n"),
        ("worker/src/config.rs", "//! Doc.\n#[cfg(test)]\nmod tests {\n    // COX_SLOT\n}\n"),
    ];
    for (path, text) in cases {
        assert_eq!(found(path, text), Vec::<String>::new(), "in {path}:\n{text}");
    }
}
