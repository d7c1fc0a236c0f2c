//! `docs/guarantees.md` held to the code: every test that it names exists. Whether the test holds what the page says is
//! for its readers to judge.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let page = std::fs::read_to_string(root.join("docs/guarantees.md")).expect("the page is there");
    let named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(|word| is_sentence(word)).collect();
    assert!(named.len() > 50, "the page names {} tests", named.len());
    let mut defined = String::new();
    for folder in ["shared/src", "worker/src", "scheduler/src", "tests/tests"] {
        read_all(&root.join(folder), &mut defined);
    }
    let missing: Vec<_> = named.iter().filter(|name| !defined.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that do not exist: {missing:?}");
    for guarantee in 1..=12 {
        assert!(page.contains(&format!("| G{guarantee} | ")), "docs/guarantees.md lacks G{guarantee}");
    }
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
