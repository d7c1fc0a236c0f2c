//! The generated parts of docs/operations.md: tables of what the programs themselves say.

use std::fmt::Write as _;

use coxswain_shared::telemetry::Registered;

use super::manifests::{read, root};

/// The page.
pub(crate) const PAGE: &str = "docs/operations.md";

/// Set to any value, it makes a stale table be written anew. The test fails all the same: look at what it wrote.
const REWRITE: &str = "COXSWAIN_TESTS_REWRITE";

/// A setting as a program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The variable.
    pub(crate) name: String,
    /// Its default; `none` where there is none.
    pub(crate) default: String,
    /// What it means.
    pub(crate) meaning: String,
}

/// Reads what `--settings` prints: a name, and below it, indented, `meaning (default: …)`.
pub(crate) fn settings(listing: &str) -> Vec<Setting> {
    let lines: Vec<&str> = listing.lines().collect();
    lines.chunks(2).map(setting).collect()
}

fn setting(lines: &[&str]) -> Setting {
    let parsed = || {
        let [name, below] = lines else { return None };
        let (meaning, default) = below.strip_prefix("    ")?.strip_suffix(')')?.rsplit_once(" (default: ")?;
        Some(Setting { name: (*name).to_owned(), default: default.to_owned(), meaning: meaning.to_owned() })
    };
    parsed().unwrap_or_else(|| panic!("--settings prints a name and its meaning with the default, not {lines:?}"))
}

/// The table of settings: what all programs share first, then each program's own.
pub(crate) fn settings_table(programs: &[(&str, Vec<Setting>)]) -> String {
    let mut rows: Vec<(Setting, Vec<&str>)> = Vec::new();
    for (program, settings) in programs {
        for setting in settings {
            match rows.iter_mut().find(|(known, _)| known == setting) {
                Some((_, of)) => of.push(program),
                None => rows.push((setting.clone(), vec![program])),
            }
        }
    }
    rows.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
    let mut table = String::from("| variable | default | of | meaning |\n|---|---|---|---|\n");
    for (Setting { name, default, meaning }, of) in rows {
        let of = if of.len() == programs.len() { "all".to_owned() } else { of.join(", ") };
        row(&mut table, &[&format!("`{name}`"), &code(&default), &of, &meaning]);
    }
    table
}

/// The tables of metrics, one a program.
pub(crate) fn metrics_tables(programs: &[(&str, Vec<Registered>)]) -> String {
    let mut tables = String::new();
    for (program, metrics) in programs {
        writeln!(tables, "**{program}**\n\n| metric | labels | meaning |\n|---|---|---|")
            .expect("memory can be written");
        for metric in metrics {
            let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
            row(&mut tables, &[&code(&metric.name), &labels.join(", "), &metric.help]);
        }
        tables.push('\n');
    }
    tables
}

/// Fails unless the page holds just this text between the marks `begin` and `end` of this part.
pub(crate) fn assert_part(part: &str, expected: &str) {
    let page = read(PAGE);
    let (begin, end) = (format!("<!-- {part}: begin -->\n"), format!("<!-- {part}: end -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (found, after)) = parts.unwrap_or_else(|| panic!("{PAGE} has no part `{part}`"));
    let expected = format!("\n{}\n\n", expected.trim_end());
    if found == expected {
        return;
    }
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(root().join(PAGE), format!("{before}{begin}{expected}{end}{after}"))
            .expect("the page can be written");
    }
    panic!(
        "{PAGE}: the part `{part}` is stale: run this test with {REWRITE}=1 and look at the change, or write:\n{expected}"
    );
}

fn row(table: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('<', "\\<")).collect();
    writeln!(table, "| {} |", cells.join(" | ")).expect("memory can be written");
}

fn code(text: &str) -> String {
    if text == "none" { text.to_owned() } else { format!("`{text}`") }
}
