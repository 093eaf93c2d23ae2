//! Where results and messages go: results to standard output as a table or as JSON,
//! everything else to standard error. Nothing else in this crate writes to either.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::args::OutputFormat;
use crate::failure::Failure;

/// A result of a command. Its JSON has the field names of the protocol; revisions are
/// numbers, durations seconds, times RFC 3339.
pub(crate) trait Report: Serialize {
    /// For people. Ends with a line break unless it is empty.
    fn text(&self, style: Style) -> String;
}

/// How text for people is made up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Colours are welcome.
    pub(crate) color: bool,
    /// The text goes to a terminal, so tables may use its width.
    pub(crate) terminal: bool,
}

/// Where results and messages go.
pub struct Output {
    format: OutputFormat,
    style: Style,
    progress: bool,
    results: Box<dyn Write + Send>,
    messages: Box<dyn Write + Send>,
}

impl Output {
    /// The standard streams. Colours and progress bars only on a terminal, colours
    /// not if `NO_COLOR` is set.
    #[must_use]
    pub fn standard(format: OutputFormat) -> Self {
        let terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            style: Style {
                color: terminal && !no_color,
                terminal,
            },
            progress: format == OutputFormat::Table && io::stderr().is_terminal(),
            results: Box::new(io::stdout()),
            messages: Box::new(io::stderr()),
        }
    }

    /// Other places, without colours and progress bars.
    pub fn to(
        format: OutputFormat,
        results: impl Write + Send + 'static,
        messages: impl Write + Send + 'static,
    ) -> Self {
        Self {
            format,
            style: Style::default(),
            progress: false,
            results: Box::new(results),
            messages: Box::new(messages),
        }
    }

    /// How results look.
    #[must_use]
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Whether progress bars are welcome on standard error.
    #[must_use]
    pub fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Writes the result of a command.
    pub(crate) fn result(&mut self, report: &impl Report) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Table => report.text(self.style),
            OutputFormat::Json => {
                let json = serde_json::to_string_pretty(report);
                json.expect("reports have text keys only") + "\n"
            }
        };
        self.raw(text.as_bytes())
    }

    /// Writes one of many results: one line.
    pub(crate) fn line(&mut self, report: &impl Report) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Table => report.text(self.style),
            OutputFormat::Json => {
                let json = serde_json::to_string(report);
                json.expect("reports have text keys only") + "\n"
            }
        };
        self.raw(text.as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.results.write_all(bytes);
        written
            .and_then(|()| self.results.flush())
            .map_err(|error| Failure::stdout(&error))
    }

    /// Tells people something that is no result. Programs are not told.
    pub(crate) fn note(&mut self, text: &str) {
        if self.format == OutputFormat::Table {
            // Nobody can be told that standard error is gone.
            let _ = writeln!(self.messages, "{}", plain(text));
        }
    }

    /// Tells of a failure.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let text = match self.format {
            OutputFormat::Table => failure.to_text(),
            OutputFormat::Json => failure.to_json(),
        };
        let _ = self.messages.write_all(text.as_bytes());
    }
}

/// A table without lines: a header, then one row a line.
pub(crate) fn table(style: Style, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if style.terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
    }
    if style.color {
        table.enforce_styling();
    }
    table.set_header(header.iter().map(|name| {
        let cell = Cell::new(name);
        if style.color {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }));
    table
}

/// A table as text, each line without blanks at its end.
pub(crate) fn finish(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}

/// What a cell says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    Quiet,
}

/// A cell in a colour, if colours are welcome.
pub(crate) fn toned(style: Style, text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    if !style.color {
        return cell;
    }
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Quiet => cell.add_attribute(Attribute::Dim),
    }
}

/// Text from elsewhere on one line, without characters that steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(style: Style) -> String {
        let mut table = table(style, &["NAME", "STATE"]);
        table.add_row([Cell::new("a"), toned(style, "up", Tone::Good)]);
        finish(&table)
    }

    #[test]
    fn a_table_is_plain_text_where_no_terminal_is() {
        assert_eq!(sample(Style::default()), "NAME  STATE\na     up\n");
    }

    #[test]
    fn colours_are_there_only_where_they_are_welcome() {
        let style = Style {
            color: true,
            terminal: false,
        };
        assert!(sample(style).contains('\u{1b}'));
    }

    #[test]
    fn text_from_elsewhere_stays_on_its_line() {
        assert_eq!(plain("a\n\u{1b}[2J"), "a\\n\\u{1b}[2J");
    }
}
