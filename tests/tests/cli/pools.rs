//! Pools that graphs name: those that the fleet does not have, and those that nobody serves.

use coxswain_tests::{Cox, Output};

use crate::{Desk, SOON, code};

const ON_GPU: &str = "
name: on-gpu
nodes: { work: { kind: exec, command: ['true'], pool: gpu } }
edges: [START -> work -> END]
";

async fn run(desk: &Desk, words: &str, (name, value): (&str, &str)) -> Output {
    Cox::program("cox").args(words.split(' ')).env(name, value).current_dir(desk.path()).run(SOON).await
}

#[tokio::test]
async fn a_graph_that_names_a_pool_which_the_fleet_does_not_have_is_refused_before_anything_is_stored() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("gpu.yaml"), ON_GPU).unwrap();
    let why = "the pool `gpu` is none of the pools of this fleet (COX_KNOWN_POOLS: default, web)";
    let known = ("COX_KNOWN_POOLS", "web,default");
    let checked = run(&desk, "graph check gpu.yaml hello.yaml", known).await;
    assert_eq!((code(&checked), checked.stderr.as_str()), (64, ""), "{checked:?}");
    assert_eq!(checked.stdout.trim_end(), format!("gpu.yaml: {why}\nhello.yaml: `hello` is good"));
    for command in ["run", "submit"] {
        let refused = run(&desk, &format!("{command} gpu.yaml"), known).await;
        assert_eq!((code(&refused), refused.stdout.as_str()), (64, ""), "{refused:?}");
        assert!(refused.stderr.contains(why) && refused.stderr.contains("help: name one of these"), "{refused:?}");
    }
    assert_eq!(code(&run(&desk, "graph check gpu.yaml", ("COX_KNOWN_POOLS", "gpu")).await), 0);
    let mistaken = run(&desk, "graph check gpu.yaml", ("COX_KNOWN_POOLS", "g pu")).await;
    assert_eq!(code(&mistaken), 64, "{mistaken:?}");
    assert!(mistaken.stderr.contains("COX_KNOWN_POOLS: pool name `g pu`"), "{mistaken:?}");
}

#[tokio::test]
async fn a_check_warns_of_a_pool_that_nobody_serves_where_a_store_is_named() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("gpu.yaml"), ON_GPU).unwrap();
    let asked = run(&desk, "graph check gpu.yaml", ("COX_STORE", "sqlite:own.db")).await;
    assert_eq!(code(&asked), 0, "{asked:?}");
    assert!(asked.stderr.contains("no worker of the pool gpu was seen within the last minute"), "{asked:?}");
    let unasked = desk.run("graph check gpu.yaml").await;
    assert_eq!((code(&unasked), unasked.stderr.as_str()), (0, ""), "{unasked:?}");
}
