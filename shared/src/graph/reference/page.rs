//! `docs/nodes.md`: the reference of the kinds of nodes.

use std::fmt::Write as _;

use super::field::{Field, field};
use super::kinds::{self, Kind};
use super::shape::Shape;
use super::{calls, policy, vector};

const HEAD: &str = "\
# Nodes, field by field

Every field of every kind of node. What they do is told in [graphs.md](graphs.md), which limit ends what in [limits.md](limits.md).
The same fields are in [graph.schema.json](graph.schema.json), by which [editors complete them](graphs.md#in-an-editor).
This page is generated: `every_page_and_schema_is_what_the_table_says` holds it to the readers.

| type | what it is |
|---|---|
| text | a text; a number or a truth is taken as it is written |
| template | a text with `{{ expressions }}`, and secrets by reference: `${env:NAME}`, `${file:NAME}` |
| expression | a text in the language of [expressions](graphs.md#expressions), without braces |
| name | 1 to 128 characters of `A-Z a-z 0-9 _ . -`, starting with a letter, a digit or `_` |
| duration | `250ms`, `10s`, `2m`, `1h30m`, `1d`, or a number of seconds |

A field that is there but empty counts as absent.
";

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let kinds = kinds::all();
    heading(&mut page, "Every node");
    let names = Shape::Word(kinds.iter().map(|kind| kind.name).collect());
    let kind = field("kind", names, "What it does").required();
    let shared = kinds::shared().into_iter().map(|field| match field.name {
        "into" => Field { meaning: format!("{} (not `set`, not `wait`)", field.meaning), ..field },
        _ => field,
    });
    table(&mut page, &[kind].into_iter().chain(shared).collect::<Vec<_>>());
    line(&mut page, "\nAnd those of the [policy](#the-policy).");
    for kind in &kinds {
        self::kind(&mut page, kind);
    }
    heading(&mut page, "`fallback`");
    line(&mut page, "A model that is asked in place of an `llm` node's. What it leaves out is the node's.\n");
    table(&mut page, &calls::fallback());
    heading(&mut page, "`embed`");
    line(&mut page, "The model that makes vectors of texts, behind OpenAI's API of embeddings.\n");
    table(&mut page, &vector::embed());
    heading(&mut page, "The policy");
    line(
        &mut page,
        "Of every node, whatever its kind; under `defaults` of the graph, for all nodes that do not write it themselves.\n",
    );
    table(&mut page, &policy::fields());
    heading(&mut page, "`retry`");
    line(&mut page, "The pause before try *n + 1* is `first × factor^(n-1)`, at most `max`, then jittered.\n");
    table(&mut page, &policy::retry());
    page
}

fn kind(page: &mut String, kind: &Kind) {
    heading(page, &format!("`{}`", kind.name));
    line(page, &format!("{}.\n\n```yaml\n{}\n```\n", kind.meaning, kind.example));
    table(page, &kind.fields);
}

fn heading(page: &mut String, text: &str) {
    line(page, &format!("\n## {text}\n"));
}

fn table(page: &mut String, fields: &[Field]) {
    line(page, "| field | type | default | meaning |\n|---|---|---|---|");
    for field in fields {
        let default = match &field.default {
            Some(default) => default.as_str(),
            None if field.is_required => "**required**",
            None => "–",
        };
        let cells = [format!("`{}`", field.name), field.shape.show(), default.to_owned(), field.meaning.clone()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        line(page, &format!("| {} |", cells.join(" | ")));
    }
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("memory can be written");
}
