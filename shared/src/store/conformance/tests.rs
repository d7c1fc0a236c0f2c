//! Checks that no case is left out of the list.

const LIST: &str = include_str!("list.rs");

const GROUPS: [(&str, &str); 19] = [
    ("create", include_str!("create.rs")),
    ("threads", include_str!("threads.rs")),
    ("stop", include_str!("stop.rs")),
    ("scope", include_str!("scope.rs")),
    ("spend", include_str!("spend.rs")),
    ("ends", include_str!("ends.rs")),
    ("children", include_str!("children.rs")),
    ("turns", include_str!("turns.rs")),
    ("ready", include_str!("ready.rs")),
    ("advance", include_str!("advance.rs")),
    ("claim", include_str!("claim.rs")),
    ("lease", include_str!("lease.rs")),
    ("sweep", include_str!("sweep.rs")),
    ("resume", include_str!("resume.rs")),
    ("reads", include_str!("reads.rs")),
    ("sizes", include_str!("sizes.rs")),
    ("policies", include_str!("policies.rs")),
    ("load", include_str!("load.rs")),
    ("upstreams", include_str!("upstreams.rs")),
];

#[test]
fn every_case_is_in_the_list() {
    for (group, text) in GROUPS {
        let start = LIST.find(&format!("$make {group}:")).expect("the group is in the list");
        let listed = LIST[start..].split(");").next().expect("a part before the end");
        let listed: Vec<&str> = listed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
        let written: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()).collect();
        assert_eq!(listed, written, "the cases of {group}");
    }
}
