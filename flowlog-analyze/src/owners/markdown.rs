//! Markdown tables: `| Component | Point of Contact (PIC) |`, `| CI Area | … |`,
//! `| Path | Owners | Rule |`.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{OwnerEntry, Owners, PathRule, Tier, key_of};

/// A column, recognized by a word of its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Component,
    Area,
    Name,
    Pic,
    GitHub,
    Slack,
    Email,
    Aliases,
    Path,
    Owners,
    Rule,
    Other,
}

/// Words in headings, in order of precedence.
const HEADINGS: [(&str, Column); 22] = [
    ("github", Column::GitHub),
    ("slack", Column::Slack),
    ("email", Column::Email),
    ("mail", Column::Email),
    ("aliases", Column::Aliases),
    ("alias", Column::Aliases),
    ("key", Column::Name),
    ("path", Column::Path),
    ("pattern", Column::Path),
    ("owners", Column::Owners),
    ("rule", Column::Rule),
    ("contact", Column::Pic),
    ("pic", Column::Pic),
    ("poc", Column::Pic),
    ("owner", Column::Pic),
    ("team", Column::Pic),
    ("responsible", Column::Pic),
    ("area", Column::Area),
    ("component", Column::Component),
    ("module", Column::Component),
    ("subsystem", Column::Component),
    ("service", Column::Component),
];

/// Alternative spellings of components.
const ALTERNATIVE_NAMES: [(&str, &str); 4] = [
    ("tensorrt-llm", "trtllm"),
    ("tensorrt_llm", "trtllm"),
    ("kv_block_manager", "kvbm"),
    ("kv-block-manager", "kvbm"),
];

/// CI areas, as spelled in tables and in reports.
const AREAS: [(&str, &str); 2] = [("security_osrb", "security"), ("kubernetes", "k8s")];

pub(super) fn read(text: &str) -> Owners {
    let mut owners = Owners::default();
    for (head, rows) in tables(text) {
        let columns: Vec<Column> = head
            .iter()
            .map(|cell| {
                let cell = cell.to_ascii_lowercase();
                let words: Vec<&str> = cell.split(|c: char| !c.is_ascii_alphanumeric()).collect();
                HEADINGS
                    .iter()
                    .find(|(word, _)| words.contains(word))
                    .map_or(Column::Other, |(_, column)| *column)
            })
            .collect();
        for cells in rows {
            let get = |column: Column| {
                let at = columns.iter().position(|known| *known == column)?;
                cells.get(at).map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty())
            };
            let list = |column: Column| {
                get(column)
                    .map(|cell| cell.split_whitespace().map(ToOwned::to_owned).collect())
                    .unwrap_or_default()
            };
            if let Some(pattern) = get(Column::Path) {
                let rule = get(Column::Rule)
                    .and_then(|rule| Tier::parse(&rule))
                    .unwrap_or(Tier::Codeowners);
                // Spaces in a pattern are escaped as in CODEOWNERS.
                owners.paths.push(PathRule { pattern, owners: list(Column::Owners), rule });
                continue;
            }
            let (title, is_area) = match (get(Column::Component), get(Column::Area)) {
                (Some(title), _) => (title, false),
                (None, Some(title)) => (title, true),
                (None, None) => continue,
            };
            // A cell may name several components: the first names the row.
            let mut several =
                title.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
            let first = several.next().unwrap_or_default().to_owned();
            let others: Vec<String> =
                if is_area { Vec::new() } else { several.map(key_of).collect() };
            let title = if is_area { title } else { first };
            let name = get(Column::Name).unwrap_or_else(|| name_of(&title, is_area));
            if name.is_empty() {
                continue;
            }
            let mut aliases: Vec<String> = list(Column::Aliases);
            aliases.extend(others);
            let row = OwnerEntry {
                title: (title != name).then_some(title),
                name,
                pic: get(Column::Pic),
                github: get(Column::GitHub),
                slack: get(Column::Slack),
                email: get(Column::Email),
                aliases,
            };
            if is_area { owners.areas.push(row) } else { owners.components.push(row) }
        }
    }
    owners
}

/// Returns the key for a heading.
fn name_of(title: &str, is_area: bool) -> String {
    let key = key_of(title);
    let spellings = if is_area { &AREAS[..] } else { &ALTERNATIVE_NAMES[..] };
    spellings
        .iter()
        .find(|(spelling, _)| *spelling == key)
        .map_or(key, |(_, name)| (*name).to_owned())
}

/// Returns every table as its headings and its rows.
fn tables(text: &str) -> Vec<(Vec<String>, Vec<Vec<String>>)> {
    let mut tables: Vec<(Vec<String>, Vec<Vec<String>>)> = Vec::new();
    let (mut row, mut cell): (Vec<String>, String) = (Vec::new(), String::new());
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Table(_)) => tables.push((Vec::new(), Vec::new())),
            Event::Start(Tag::TableCell) => cell.clear(),
            Event::Text(text) | Event::Code(text) => cell.push_str(&text),
            Event::Html(text) | Event::InlineHtml(text) => cell.push_str(&text),
            Event::End(TagEnd::TableCell) => row.push(std::mem::take(&mut cell)),
            Event::End(TagEnd::TableHead) => {
                if let Some((head, _)) = tables.last_mut() {
                    *head = std::mem::take(&mut row);
                }
            }
            Event::End(TagEnd::TableRow) => {
                if let Some((_, rows)) = tables.last_mut() {
                    rows.push(std::mem::take(&mut row));
                }
            }
            _ => {}
        }
    }
    tables
}

/// Content of a column for a row.
type Cell = fn(&OwnerEntry) -> String;

pub(super) fn write(owners: &Owners) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (heading, rows) in [("Component", &owners.components), ("CI Area", &owners.areas)] {
        let area = heading == "CI Area";
        // Add a key column if some key cannot be derived from its title.
        let derived =
            |row: &OwnerEntry| name_of(row.title.as_deref().unwrap_or(&row.name), area) == row.name;
        let mut columns: Vec<(&str, Cell)> = vec![
            (heading, |row| row.title.clone().unwrap_or_else(|| row.name.clone())),
            ("Point of Contact (PIC)", |row| row.pic.clone().unwrap_or_default()),
        ];
        let more: [(&str, Cell); 4] = [
            ("GitHub", |row| row.github.clone().unwrap_or_default()),
            ("Slack", |row| row.slack.clone().unwrap_or_default()),
            ("Email", |row| row.email.clone().unwrap_or_default()),
            ("Aliases", |row| row.aliases.join(" ")),
        ];
        columns.extend(
            more.into_iter().filter(|(_, value)| rows.iter().any(|row| !value(row).is_empty())),
        );
        if !rows.iter().all(derived) {
            columns.push(("Key", |row| row.name.clone()));
        }
        if !rows.is_empty() {
            let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            parts.push(table(
                head,
                rows.iter().map(|row| columns.iter().map(|(_, value)| value(row)).collect()),
            ));
        }
    }
    if !owners.paths.is_empty() {
        let head = ["Path", "Owners", "Rule"].map(ToOwned::to_owned).to_vec();
        let rows = owners.paths.iter().map(|rule| {
            vec![rule.pattern.clone(), rule.owners.join(" "), rule.rule.as_str().to_owned()]
        });
        parts.push(table(head, rows));
    }
    parts.join("\n")
}

/// Formats a table with aligned columns.
fn table(head: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.map(|cells| cells.iter().map(|cell| escape(cell)).collect()))
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell}{} ", " ".repeat(width - cell.chars().count())))
            .collect();
        out.push_str(&format!("|{}|\n", cells.join("|")));
        if at == 0 {
            out.push_str(&format!(
                "|{}|\n",
                widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|")
            ));
        }
    }
    out
}

/// Escapes the text of a cell, so that it is not read as markup.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | '|' | '*' | '_' | '`' | '<' | '[' | ']' | '&' | '~') {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}
