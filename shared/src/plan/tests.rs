//! The planner's rules as behaviour, one table or sentence each. Random graphs are in `tests/random.rs`.

mod case;
mod children;
mod conversations;
mod edges;
mod failures;
mod fan_out;
mod limits;
mod loops;
mod pauses;
mod random;
mod resumption;
mod so_far;
mod steps;

#[test]
fn the_page_about_planning_quotes_the_tables_of_the_state_machines_as_they_are() {
    let page = include_str!("../../../docs/planning.md");
    for source in [include_str!("../run.rs"), include_str!("../task.rs")] {
        let rows: Vec<_> = source.lines().filter_map(|line| line.strip_prefix("//! |")).collect();
        assert!(rows.len() > 6, "the module's doc has its table");
        for row in rows {
            assert!(page.contains(&format!("\n|{row}\n")), "docs/planning.md lacks the row |{row}");
        }
    }
}
