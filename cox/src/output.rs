//! Where everything is written: results to standard output, progress and errors to standard error; for people, or as JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Mutex;

use comfy_table::ContentArrangement;
use comfy_table::presets::NOTHING;
use coxswain_shared::config::Source;
use coxswain_shared::printable;
use coxswain_shared::store::Trouble;
use coxswain_shared::time::in_text;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failed;
use crate::paint::{Paint, apply, between_colours};

/// The program's output.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    /// Colours for standard output.
    pub(crate) paint: Paint,
    /// Colours for standard error.
    pub(crate) paint_err: Paint,
    is_live: bool,
    /// The line at the bottom of a live view, which other lines must not run into.
    live: Mutex<Option<String>>,
}

impl Output {
    /// An output as the flags and the terminal want it.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let wants_colour = Source::foreign("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_dumb = Source::foreign("TERM").is_some_and(|term| term == "dumb");
        let colour = wants_colour && !is_dumb;
        Self {
            json,
            quiet,
            paint: Paint::new(colour && io::stdout().is_terminal()),
            paint_err: Paint::new(colour && io::stderr().is_terminal()),
            is_live: io::stderr().is_terminal() && !is_dumb && !quiet && !json,
            live: Mutex::new(None),
        }
    }

    /// Whether results are JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a live view can be drawn.
    pub(crate) const fn is_live(&self) -> bool {
        self.is_live
    }

    /// Writes a result: as a JSON document, or as the text that `text` makes.
    pub(crate) fn result(&self, document: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            self.document(document);
        } else {
            self.text(&text());
        }
    }

    /// Writes a JSON document on several lines.
    pub(crate) fn document(&self, document: &impl Serialize) {
        let text = in_text(|| serde_json::to_string_pretty(document));
        self.text(&printable::json(&text.expect("what is shown is plain data with texts as keys")));
    }

    /// Writes a JSON document on a line of its own.
    pub(crate) fn json_line(&self, document: &impl Serialize) {
        let text = in_text(|| serde_json::to_string(document));
        self.text(&printable::json(&text.expect("what is shown is plain data with texts as keys")));
    }

    /// Writes a result as text; its line breaks are those of our own layout.
    pub(crate) fn text(&self, text: &str) {
        self.below_nothing(|| write_line(io::stdout().lock(), text));
    }

    /// Tells of progress on one line, unless it is to be quiet or writes JSON.
    pub(crate) fn note(&self, text: impl Display) {
        self.notes(line(&text.to_string()));
    }

    /// The same on several lines, whose breaks are those of our own layout.
    pub(crate) fn notes(&self, text: impl Display) {
        if !self.quiet && !self.json {
            self.below_nothing(|| write_line(io::stderr().lock(), &text.to_string()));
        }
    }

    /// Draws the live view's line anew; an empty one takes it away.
    pub(crate) fn live(&self, line: &str) {
        if !self.is_live {
            return;
        }
        let mut shown = self.live.lock().expect("nothing panics while it holds this lock");
        *shown = (!line.is_empty()).then(|| line.to_owned());
        draw_live(line);
    }

    /// Tells what is wrong with the store, while the command goes on.
    pub(crate) fn trouble(&self, trouble: &Trouble) {
        if self.json {
            let document = json!({"trouble": {"message": trouble.why, "remedy": trouble.remedy}});
            return write_line(io::stderr().lock(), &document.to_string());
        }
        let (word, help) = (self.paint_err.bad("error:"), self.paint_err.strong("help:"));
        let text = format!("{word} {}\n  {help} {}", line(&trouble.why), line(&trouble.remedy));
        self.below_nothing(|| write_line(io::stderr().lock(), &text));
    }

    /// Tells why the command failed.
    pub(crate) fn failure(&self, failed: &Failed) {
        if self.json {
            let error = json!({"exit": failed.exit.code(), "message": failed.message, "remedy": failed.remedy});
            return write_line(io::stderr().lock(), &printable::json(&json!({ "error": error }).to_string()));
        }
        let word = self.paint_err.bad("error:");
        let mut text = format!("{word} {}", failed.message);
        if let Some(remedy) = &failed.remedy {
            text = format!("{text}\n  {} {remedy}", self.paint_err.strong("help:"));
        }
        self.below_nothing(|| write_line(io::stderr().lock(), &text));
    }

    /// Writes while the live line is out of the way.
    fn below_nothing(&self, write_it: impl FnOnce()) {
        let shown = self.live.lock().expect("nothing panics while it holds this lock");
        let Some(line) = shown.as_ref() else { return write_it() };
        draw_live("");
        write_it();
        draw_live(line);
    }
}

/// A table without borders, whose cells may hold texts of others.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Adds a row.
    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| line(&cell)));
    }

    /// Adds a row with cells of several lines each.
    pub(crate) fn add_tall_row<const N: usize>(&mut self, cells: [Vec<String>; N]) {
        let cells = cells.map(|lines| lines.iter().map(|text| line(text)).collect::<Vec<_>>().join("\n"));
        self.0.add_row(cells);
    }
}

/// A table of these columns.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| title.to_uppercase()).collect::<Vec<_>>());
    Table(table)
}

/// A text that may hold texts of others, on one line.
pub(crate) fn line(text: &str) -> String {
    between_colours(text, printable::line)
}

/// A table as text, without space at the ends of lines.
pub(crate) fn draw(Table(table): &Table) -> String {
    // Cells are padded by one space on both sides: the first column begins at the edge all the same.
    let lines: Vec<_> =
        table.lines().map(|line| line.trim_end().strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The width of a drawing on standard output; where that is no terminal, as wide as it likes.
pub(crate) fn width() -> usize {
    terminal_size::terminal_size_of(io::stdout()).map_or(usize::MAX, |(width, _)| usize::from(width.0))
}

/// The width of a live line on standard error. A line as wide as the terminal would break.
pub(crate) fn live_width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0)).saturating_sub(1)
}

/// Draws the last line of a terminal anew.
fn draw_live(text: &str) {
    write(io::stderr().lock(), &format!("\r\x1b[2K{}", apply(&line(text))));
}

/// Writes lines. All that this program shows comes through here, or through `draw_live`: nothing of others steers a terminal.
fn write_line(out: impl Write, text: &str) {
    write(out, &apply(&format!("{}\n", between_colours(text, printable::lines))));
}

/// Tells what is wrong with the command line, which may hold anything.
pub(crate) fn usage(text: &str) {
    write_line(io::stderr().lock(), text.trim_end());
}

/// A reader that has gone (`cox list | head`) is no failure of ours, and there is nobody left to tell of another.
fn write(mut out: impl Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
