//! Mistaken settings: every program tells all of them, whatever the logs are set to.

use coxswain_tests::{Cox, Output};

use crate::{SOON, code};

async fn run(program: &str, words: &str, variables: &[(&str, &str)]) -> Output {
    let launch = Cox::program(program).args(words.split_whitespace());
    variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).run(SOON).await
}

#[tokio::test]
async fn every_program_tells_all_mistakes_at_once_whatever_its_logs_are_set_to() {
    let mistaken = [("COX_LOG_FORMAT", "xml"), ("COX_SLOT", "1"), ("COX_RETENTION", "soon"), ("COX_LOG", "off")];
    for (program, words, own) in
        [("cox-scheduler", "", "COX_POLL"), ("cox-worker", "", "COX_SLOTS"), ("cox", "up", "COX_SLOTS")]
    {
        let output = run(program, words, &[&mistaken[..], &[(own, "many")]].concat()).await;
        assert_eq!(code(&output), 64, "{program}: {output:?}");
        for part in ["COX_LOG_FORMAT: `xml`", "COX_SLOT: ", "COX_RETENTION: ", own] {
            assert!(output.stderr.contains(part), "{program} does not tell {part}: {output:?}");
        }
    }
}

#[tokio::test]
async fn a_mistaken_flag_ends_with_64_beside_the_mistaken_settings() {
    let set = [("COX_STORE", "redis://h"), ("COX_RETENTION", "0s")];
    let output = run("cox-worker", "--slots many --http here", &set).await;
    assert_eq!(code(&output), 64, "{output:?}");
    for part in ["--slots: ", "--http: ", "COX_RETENTION: ", "COX_BROKER: "] {
        assert!(output.stderr.contains(part), "{part} is not told: {output:?}");
    }
    for program in ["cox-worker", "cox-scheduler"] {
        assert_eq!(code(&run(program, "--no-such-flag", &[]).await), 64, "{program}");
        assert_eq!(code(&run(program, "--help", &[]).await), 0, "{program}");
    }
}

#[tokio::test]
async fn the_environment_of_one_program_stops_no_other() {
    // What the tour of the README exports, what `scripts/model-servers` reads, and what an `exec` node's process is given.
    let shell = [
        ("COX_STORE", "redis://127.0.0.1:1"),
        ("COX_BROKER", "amqp://127.0.0.1:1/%2f"),
        ("COX_OUTSIDE_ALLOW", "127.0.0.1"),
        ("COX_PRICES", "{m: {input: 1, output: 2}}"),
        ("COX_SWEEP_EVERY", "1s"),
        ("COX_MODEL_PORT", "8080"),
        ("COX_RUN", "a"),
        ("COX_STATE_NAME", "Ann"),
    ];
    for program in ["cox-scheduler", "cox-worker"] {
        let output = run(program, "", &shell).await;
        assert_eq!(code(&output), 1, "{program} gets as far as its store: {output:?}");
        assert!(output.stderr.contains("cannot open the store"), "{program}: {output:?}");
    }
    assert_eq!(code(&run("cox", "up", &shell).await), 69);
}
