//! `docs/guarantees.md`, and the failures in `docs/operations.md`, held to the code: every test that they name exists.
//! Whether the test holds what the page says is for its readers to judge.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let page = read("docs/guarantees.md");
    let named = named_in(&page);
    assert!(named.len() > 50, "the page names {} tests", named.len());
    assert_eq!(missing(&named), Vec::<&str>::new(), "docs/guarantees.md names tests that do not exist");
    for guarantee in 1..=12 {
        assert!(page.contains(&format!("| G{guarantee} | ")), "docs/guarantees.md lacks G{guarantee}");
    }
}

#[test]
fn every_failure_names_tests_that_exist_or_says_that_there_is_none() {
    let page = read("docs/operations.md");
    let table = page.split_once("| what fails |").and_then(|(_, rest)| rest.split_once("\n\n"));
    let rows: Vec<&str> = table.expect("the page has the table").0.lines().skip(2).collect();
    assert!(rows.len() > 10, "the table has {} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, _, _, held_by] = cells[..] else { panic!("docs/operations.md: this row has no four cells: {row}") };
        let named = named_in(held_by);
        assert!(!named.is_empty() || held_by == "–", "docs/operations.md: `{what}` names no test, and no dash");
        assert_eq!(missing(&named), Vec::<&str>::new(), "docs/operations.md: `{what}` names tests that do not exist");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository").to_owned()
}

fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).expect("the page is there")
}

/// The tests that a text names.
fn named_in(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).filter(|word| is_sentence(word)).collect()
}

/// Those of them that no source defines.
fn missing<'a>(named: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let mut defined = String::new();
    for folder in ["shared/src", "worker/src", "scheduler/src", "tests/tests"] {
        read_all(&root().join(folder), &mut defined);
    }
    named.iter().copied().filter(|name| !defined.contains(&format!("fn {name}("))).collect()
}

/// A test's name is a sentence; `confirmed` or a path is not.
fn is_sentence(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source is text"));
        }
    }
}
