//! Tables and texts for people: as wide as the terminal, coloured only where that is wanted.

use std::io::{self, Write as _};

use comfy_table::{Attribute, Color, ContentArrangement};
use owo_colors::OwoColorize as _;

use super::visible::{visible, visible_line};
use super::{Advice, Block, Cell, Output, Table, Tone, View, write_out};

/// Prints views for people.
pub(super) struct TableOutput {
    pub(super) colours: bool,
    /// Columns of the terminal; none where lines are never broken (a pipe, a file).
    pub(super) width: Option<u16>,
    pub(super) advice: Advice,
}

impl Output for TableOutput {
    fn show(&self, view: &dyn View) -> io::Result<()> {
        let text: String = view.blocks().iter().map(|block| self.block(block)).collect();
        write_out(&text)
    }

    fn remark(&self, line: &str) -> io::Result<()> {
        writeln!(io::stderr(), "{}", visible(line))
    }
}

impl TableOutput {
    fn block(&self, block: &Block) -> String {
        match block {
            Block::Table(table) => self.table(table),
            Block::Fields { title, fields } => self.fields(title, fields),
            Block::Text(text) => format!("{}\n", visible(text)),
            Block::Hint(_) if self.advice == Advice::Hidden => String::new(),
            Block::Hint(text) => format!("{}\n", self.paint(&visible(text), Tone::Warning)),
        }
    }

    fn table(&self, table: &Table) -> String {
        let mut drawn = comfy_table::Table::new();
        drawn.load_style(comfy_table::presets::NOTHING);
        drawn.set_header(table.columns.iter().map(|name| self.header(name)));
        drawn.add_rows(table.rows.iter().map(|row| row.iter().map(|cell| self.cell(cell))));
        match self.width {
            Some(width) => {
                drawn.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
            None => {
                drawn.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        if self.colours {
            drawn.enforce_styling();
        } else {
            drawn.force_no_tty();
        }
        let title = table.title.as_ref().map(|title| format!("{}\n", self.strong(&visible_line(title))));
        let lines: String = drawn.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        title.unwrap_or_default() + &lines
    }

    fn header(&self, name: &str) -> comfy_table::Cell {
        comfy_table::Cell::new(name).add_attribute(Attribute::Bold)
    }

    fn cell(&self, cell: &Cell) -> comfy_table::Cell {
        let drawn = comfy_table::Cell::new(visible_line(&cell.text));
        match cell.tone {
            Tone::Plain => drawn,
            Tone::Good => drawn.fg(Color::Green),
            Tone::Bad => drawn.fg(Color::Red),
            Tone::Warning => drawn.fg(Color::Yellow),
            Tone::Busy => drawn.fg(Color::Cyan),
            Tone::Faint => drawn.add_attribute(Attribute::Dim),
        }
    }

    fn fields(&self, title: &str, fields: &[(String, Cell)]) -> String {
        let width = fields.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
        let mut text =
            if title.is_empty() { String::new() } else { format!("{}\n", self.strong(&visible_line(title))) };
        for (key, cell) in fields {
            let key = format!("{:>width$}", visible_line(key));
            // A value of several lines is set below its key's column, so that the keys stay findable.
            let indent = format!("\n{}", " ".repeat(width + 5));
            let value = visible(&cell.text).trim_end().replace('\n', &indent);
            let (key, value) = (self.paint(&key, Tone::Faint), self.paint(&value, cell.tone));
            text.extend(["  ", &key, " = ", &value, "\n"]);
        }
        text
    }

    fn strong(&self, text: &str) -> String {
        if self.colours { text.bold().to_string() } else { text.to_owned() }
    }

    fn paint(&self, text: &str, tone: Tone) -> String {
        if !self.colours {
            return text.to_owned();
        }
        match tone {
            Tone::Plain => text.to_owned(),
            Tone::Good => text.green().to_string(),
            Tone::Bad => text.red().to_string(),
            Tone::Warning => text.yellow().to_string(),
            Tone::Busy => text.cyan().to_string(),
            Tone::Faint => text.dimmed().to_string(),
        }
    }
}

/// Returns the columns that lines may have: `COLUMNS`, else the terminal's, else no limit.
pub(super) fn width(is_terminal: bool) -> Option<u16> {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col);
    named.or_else(|| is_terminal.then(asked).flatten()).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> Table {
        Table {
            title: Some("Jobs".into()),
            columns: vec!["DB id".into(), "Name".into(), "State".into()],
            rows: vec![
                vec!["1".into(), "relax\u{1b}[2J".into(), Cell::new("COMPLETED", Tone::Good)],
                vec![
                    "12".into(),
                    "a name that is long\nand of two lines".into(),
                    Cell::new("FAILED", Tone::Bad),
                ],
            ],
        }
    }

    #[test]
    fn a_pipe_gets_one_line_per_row_without_colours() {
        let output = TableOutput { colours: false, width: None, advice: Advice::Shown };
        insta::assert_snapshot!(output.table(&jobs()), @r"
        Jobs
         DB id  Name                                   State
         1      relax\x1b[2J                           COMPLETED
         12     a name that is long\nand of two lines  FAILED
        ");
    }

    #[test]
    fn a_narrow_terminal_gets_wrapped_cells() {
        let output = TableOutput { colours: false, width: Some(34), advice: Advice::Shown };
        let text = output.table(&jobs());
        assert!(text.lines().all(|line| line.chars().count() <= 34), "{text}");
    }

    #[test]
    fn colours_are_there_when_asked_for_and_only_ours() {
        let coloured = TableOutput { colours: true, width: None, advice: Advice::Shown }.table(&jobs());
        assert!(coloured.contains("\u{1b}[") && coloured.contains("relax\\x1b[2J"), "{coloured:?}");
    }

    #[test]
    fn fields_of_several_lines_stay_below_their_key() {
        let output = TableOutput { colours: false, width: None, advice: Advice::Shown };
        let fields = vec![("name".into(), "x".into()), ("stderr".into(), "one\ntwo\n".into())];
        insta::assert_snapshot!(output.fields("Job 3", &fields), @r"
        Job 3
            name = x
          stderr = one
                   two
        ");
    }
}
