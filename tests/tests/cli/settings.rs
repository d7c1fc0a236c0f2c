//! Mistaken settings: every program tells all of them, whatever the logs are set to.

use coxswain_tests::{Cox, Output, RedisOptions, RedisServer};

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

#[tokio::test]
async fn a_store_or_broker_whose_url_is_mistaken_is_told_without_its_password() {
    let broker = ("COX_BROKER", "amqp://127.0.0.1:1/%2f");
    for (program, words) in [("cox-scheduler", ""), ("cox-worker", ""), ("cox", "up"), ("cox", "list")] {
        for password in ["hun/ter", "hun?ter", "hun#ter", "6379/ter", "7?ter"] {
            let store = format!("redis://:{password}@host:6379/0");
            let output = run(program, words, &[("COX_STORE", &store), broker]).await;
            assert_eq!(code(&output), 64, "{program} {store}: {output:?}");
            let told = output.stderr + &output.stdout;
            assert!(told.contains("redis://***@host:6379/0") && told.contains("/ as %2F"), "{program}: {told}");
            assert!(!told.contains(password), "{program}: {told}");
        }
        let blank = run(program, words, &[("COX_STORE", " redis://:hunter2@h"), broker]).await;
        assert_eq!(code(&blank), 64, "{program}: {blank:?}");
        assert!(blank.stderr.contains("COX_STORE: it has blanks") && !blank.stderr.contains("hunter2"), "{blank:?}");
    }
    for program in ["cox-scheduler", "cox-worker"] {
        let mistaken = [("COX_STORE", "redis://127.0.0.1:1"), ("COX_BROKER", "amqp://u:hun/ter@host:5672/%2f")];
        let output = run(program, "", &mistaken).await;
        assert_eq!(code(&output), 64, "{program}: {output:?}");
        assert!(output.stderr.contains("amqp://***@host:5672/%2f") && !output.stderr.contains("hun"), "{output:?}");
    }
}

#[tokio::test]
async fn a_database_that_the_server_does_not_have_is_a_mistake_of_the_settings() {
    let server = RedisServer::start(RedisOptions::default()).await;
    let store = format!("{}/99", server.url().trim_end_matches("/0").trim_end_matches('/'));
    let broker = ("COX_BROKER", "amqp://127.0.0.1:1/%2f");
    for (program, words) in [("cox-scheduler", ""), ("cox-worker", ""), ("cox", "list"), ("cox", "run no.yaml")] {
        let output = run(program, words, &[("COX_STORE", &store), broker]).await;
        assert_eq!(code(&output), 64, "{program}: {output:?}");
    }
    let told = run("cox", "list", &[("COX_STORE", &store)]).await.stderr;
    assert!(told.contains("a database that the server does not have"), "{told}");
}

#[tokio::test]
async fn a_secret_with_blanks_around_it_keeps_a_worker_from_starting() {
    let set =
        [("COX_STORE", "redis://127.0.0.1:1"), ("COX_BROKER", "amqp://127.0.0.1:1/%2f"), ("A_API_KEY", "hunter2 ")];
    let output = run("cox-worker", "", &set).await;
    assert_eq!(code(&output), 64, "{output:?}");
    assert!(output.stderr.contains("`A_API_KEY` has blanks") && !output.stderr.contains("hunter2"), "{output:?}");
}
