//! `owners.toml`: `[component.NAME]`, `[area.NAME]` and `[[path]]`.

use toml::{Table, Value};

use super::{Owners, PathRule, Row, Tier};

pub(super) fn read(text: &str) -> Result<Owners, String> {
    let table: Table =
        text.parse().map_err(|error: toml::de::Error| error.to_string().trim().to_owned())?;
    let mut owners = Owners::default();
    for (section, value) in table {
        match (section.as_str(), value) {
            ("component", Value::Table(rows)) => owners.components = rows_of("component", rows)?,
            ("area", Value::Table(rows)) => owners.areas = rows_of("area", rows)?,
            ("path", Value::Array(rules)) => {
                owners.paths = rules.into_iter().map(rule).collect::<Result<_, _>>()?
            }
            (other, _) => {
                return Err(format!(
                    "`{other}` is no section: there are `component`, `area` and `path`"
                ));
            }
        }
    }
    Ok(owners)
}

fn rows_of(section: &str, rows: Table) -> Result<Vec<Row>, String> {
    rows.into_iter()
        .map(|(name, value)| {
            let Value::Table(fields) = value else { return Err(format!("`{section}.{name}` is no table")) };
            let mut row = Row { name: name.to_ascii_lowercase(), ..Row::default() };
            for (key, value) in fields {
                let place = format!("`{section}.{name}`");
                let slot = match key.as_str() {
                    "title" => &mut row.title,
                    "pic" => &mut row.pic,
                    "github" => &mut row.github,
                    "slack" => &mut row.slack,
                    "email" => &mut row.email,
                    "aliases" => {
                        row.aliases = strings(value).ok_or_else(|| format!("{place}: `aliases` is no list of names"))?;
                        continue;
                    }
                    _ => return Err(format!("{place}: `{key}` is no key: there are pic, github, slack, email, aliases and title")),
                };
                let Value::String(text) = value else { return Err(format!("{place}: `{key}` is no text")) };
                *slot = Some(text);
            }
            Ok(row)
        })
        .collect()
}

fn strings(value: Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else { return None };
    items
        .into_iter()
        .map(|item| if let Value::String(text) = item { Some(text) } else { None })
        .collect()
}

fn rule(value: Value) -> Result<PathRule, String> {
    let Value::Table(mut fields) = value else { return Err("a `path` is no table".to_owned()) };
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("a `path` lacks its `{key}`")),
    };
    let (pattern, tier) = (text("pattern")?, text("rule")?);
    let rule = Tier::parse(&tier).ok_or_else(|| format!("`{tier}` is no rule of a `path`"))?;
    let owners = fields
        .remove("owners")
        .and_then(strings)
        .ok_or_else(|| format!("the path `{pattern}` lacks its `owners`"))?;
    Ok(PathRule { pattern, owners, rule })
}

pub(super) fn write(owners: &Owners) -> String {
    let rows = |rows: &[Row]| {
        let tables = rows.iter().map(|row| {
            let texts = [
                ("title", &row.title),
                ("pic", &row.pic),
                ("github", &row.github),
                ("slack", &row.slack),
                ("email", &row.email),
            ];
            let mut fields: Table = texts
                .into_iter()
                .filter_map(|(key, text)| Some((key.to_owned(), Value::String(text.clone()?))))
                .collect();
            if !row.aliases.is_empty() {
                fields.insert("aliases".to_owned(), list(&row.aliases));
            }
            (row.name.clone(), Value::Table(fields))
        });
        Value::Table(tables.collect())
    };
    let paths = owners.paths.iter().map(|rule| {
        let fields = [
            ("pattern", Value::String(rule.pattern.clone())),
            ("owners", list(&rule.owners)),
            ("rule", Value::String(rule.rule.as_str().to_owned())),
        ];
        Value::Table(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    });
    let mut table = Table::new();
    table.insert("component".to_owned(), rows(&owners.components));
    table.insert("area".to_owned(), rows(&owners.areas));
    let paths: Vec<Value> = paths.collect();
    if !paths.is_empty() {
        table.insert("path".to_owned(), Value::Array(paths));
    }
    // Tables of texts and lists always serialize.
    toml::to_string(&table).unwrap_or_default()
}

fn list(names: &[String]) -> Value {
    Value::Array(names.iter().cloned().map(Value::String).collect())
}
