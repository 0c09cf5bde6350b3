//! Owners of components: reading, merging, writing and lookup of owner tables.
//!
//! Rows are components and CI areas. Anything without a row falls back to the area `test_fail`, so
//! that nothing is dropped. A table comes from `owners.toml`, from a Markdown table of points of
//! contact, from Dynamo's `areas.yaml`, or from CODEOWNERS. Each adds what the others lack, and the
//! merged table can be written as TOML or Markdown. Comments are not kept.

mod areas;
mod codeowners;
mod file;
mod markdown;

use flowlog_schema::report::Owner;
use serde::{Deserialize, Serialize};

use crate::format::ownership;

/// Area of anything that has no row.
pub const FALLBACK: &str = "test_fail";

/// Table of owners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Components, in the order in which they were read.
    pub components: Vec<OwnerEntry>,
    /// CI areas, in the order in which they were read.
    pub areas: Vec<OwnerEntry>,
    /// Owners of files, in order of increasing precedence: the last matching rule wins.
    pub paths: Vec<PathRule>,
}

/// One component or area.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnerEntry {
    /// Key, as spelled in reports.
    #[serde(skip)]
    pub name: String,
    /// Heading in a table, if spelled differently.
    pub title: Option<String>,
    /// Point of contact.
    pub pic: Option<String>,
    /// GitHub team or user.
    pub github: Option<String>,
    /// Slack channel or member.
    pub slack: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Other names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// Owners of the files that match a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// Pattern, as spelled in its file.
    pub pattern: String,
    /// Names of rows, or handles; empty if the files have no owner.
    pub owners: Vec<String>,
    /// Section of the file that contains the rule.
    pub rule: Tier,
}

/// Sections of the files that contain path rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&str")]
pub enum Tier {
    /// `meta.catch_all` of `areas.yaml`.
    CatchAll,
    /// `areas[].path_globs`.
    Area,
    /// `required_owners`.
    Required,
    /// `shared`.
    Shared,
    /// `classify.filetype_rules`.
    FileType,
    /// A line of CODEOWNERS.
    Codeowners,
}

impl Tier {
    const ALL: [Self; 6] = [
        Self::CatchAll,
        Self::Area,
        Self::Required,
        Self::Shared,
        Self::FileType,
        Self::Codeowners,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::CatchAll => "catch_all",
            Self::Area => "area",
            Self::Required => "required",
            Self::Shared => "shared",
            Self::FileType => "filetype",
            Self::Codeowners => "codeowners",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}

impl TryFrom<String> for Tier {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown rule `{name}`: expected one of {known}")
        })
    }
}

impl From<Tier> for &'static str {
    fn from(tier: Tier) -> Self {
        tier.as_str()
    }
}

/// Reason why a file cannot be read as a table of owners.
#[derive(Debug, thiserror::Error)]
pub enum OwnersError {
    /// The syntax is invalid; the message contains the line.
    #[error("failed to read `{name}`: {message}")]
    Syntax {
        /// Name of the file.
        name: String,
        /// Location and reason.
        message: String,
    },
    /// The file contains no owner.
    #[error(
        "no owner found in `{name}`: expected an `owners.toml`, a Markdown table with a column for the point of contact, an `areas.yaml` or a CODEOWNERS file"
    )]
    Empty {
        /// Name of the file.
        name: String,
    },
}

/// Output formats of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum OwnersFormat {
    /// `owners.toml`.
    Toml,
    /// Markdown tables.
    Markdown,
}

impl Owners {
    /// Reads a table; the format is detected from the end of the file name.
    ///
    /// # Errors
    /// Returns an error if the text is not in that format, or contains no owner.
    pub fn read(name: &str, text: &str) -> Result<Self, OwnersError> {
        let text = text.trim_start_matches('\u{feff}');
        let syntax = |message: String| OwnersError::Syntax { name: name.to_owned(), message };
        let stem = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let owners = match stem.rsplit_once('.').map_or(stem.as_str(), |(_, end)| end) {
            "toml" => file::read(text).map_err(syntax)?,
            "yaml" | "yml" => areas::read(text).map_err(syntax)?,
            "codeowners" => codeowners::read(text),
            _ => markdown::read(text),
        };
        if owners.is_empty() {
            return Err(OwnersError::Empty { name: name.to_owned() });
        }
        Ok(owners)
    }

    fn is_empty(&self) -> bool {
        self.components.is_empty() && self.areas.is_empty() && self.paths.is_empty()
    }

    /// Writes the table.
    pub fn write(&self, form: OwnersFormat) -> String {
        match form {
            OwnersFormat::Toml => file::write(self),
            OwnersFormat::Markdown => markdown::write(self),
        }
    }

    /// Adds the entries of another table. Existing values win on conflicts; returns a description
    /// of each conflict.
    pub fn merge(&mut self, other: Self) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (mine, theirs) in
            [(&mut self.components, other.components), (&mut self.areas, other.areas)]
        {
            for row in theirs {
                match mine.iter_mut().find(|known| known.is_same(&row)) {
                    Some(known) => known.merge(row, &mut conflicts),
                    None => mine.push(row),
                }
            }
        }
        for rule in other.paths {
            // The last matching rule wins, so a repeated rule moves to the end.
            self.paths.retain(|known| *known != rule);
            self.paths.push(rule);
        }
        self.name_teams();
        conflicts
    }

    /// Fills in missing teams from path rules: of components with code under a path, and of the
    /// fallback area. The last rule for each wins.
    fn name_teams(&mut self) {
        for rule in self
            .paths
            .iter()
            .rev()
            .filter(|rule| matches!(rule.rule, Tier::Codeowners | Tier::CatchAll))
        {
            let Some(team) = rule.owners.first() else { continue };
            let (rows, name) = match ownership::of_path(&rule.pattern) {
                Some(component) => (&mut self.components, component),
                None if rule.pattern == "*" => (&mut self.areas, FALLBACK),
                None => continue,
            };
            match rows.iter_mut().find(|row| row.is_named(name)) {
                Some(row) => {
                    row.github.get_or_insert_with(|| team.clone());
                }
                None => rows.push(OwnerEntry {
                    name: name.to_owned(),
                    github: Some(team.clone()),
                    ..OwnerEntry::default()
                }),
            }
        }
    }

    /// Returns the owner of a component or CI area; an empty owner if the table is empty.
    pub fn of(&self, component: &str) -> Owner {
        let rows = || self.components.iter().chain(&self.areas);
        let found = rows()
            .find(|row| row.name.eq_ignore_ascii_case(component))
            .or_else(|| rows().find(|row| row.is_named(component)))
            .or_else(|| self.areas.iter().find(|row| row.name == FALLBACK));
        let other = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        match found {
            Some(row) => Owner {
                component: Some(row.name.clone()),
                pic: other(&row.pic).or_else(|| other(&row.github)),
            },
            None if self.is_empty() => Owner::default(),
            None => Owner { component: Some(FALLBACK.to_owned()), pic: None },
        }
    }
}

impl OwnerEntry {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// Whether another row is the same as this one, possibly in another spelling: `backend-vllm` is
    /// `vllm`. A row that covers several components is not the same as any of them.
    fn is_same(&self, other: &Self) -> bool {
        let spells = |a: &Self, b: &Self| {
            a.is_named(&b.name) && a.name.ends_with(&b.name) || a.name.eq_ignore_ascii_case(&b.name)
        };
        spells(self, other)
            || spells(other, self)
            || self.is_named(&other.name) && other.name.ends_with(&self.name)
    }

    fn merge(&mut self, other: Self, conflicts: &mut Vec<String>) {
        let name = self.name.clone();
        let fields = [
            ("pic", &mut self.pic, other.pic),
            ("github", &mut self.github, other.github),
            ("slack", &mut self.slack, other.slack),
            ("email", &mut self.email, other.email),
        ];
        for (field, mine, theirs) in fields {
            match (&mine, theirs) {
                (Some(known), Some(other)) if **known != other => {
                    conflicts.push(format!(
                        "`{name}`: conflicting {field}: keeping `{known}`, ignoring `{other}`"
                    ));
                }
                (None, Some(other)) => *mine = Some(other),
                _ => {}
            }
        }
        for alias in std::iter::once(other.name).chain(other.aliases) {
            if !self.is_named(&alias) {
                self.aliases.push(alias);
            }
        }
    }
}

/// Converts a heading to a key: `Security/OSRB` becomes `security_osrb`.
fn key_of(title: &str) -> String {
    let mut key = String::new();
    for c in title.trim().chars() {
        if c.is_alphanumeric() || matches!(c, '-' | '.') {
            key.extend(c.to_lowercase());
        } else if !key.ends_with('_') {
            key.push('_');
        }
    }
    key.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICS: &str = "# Who\n\n| Component | Point of Contact (PIC) |\n|---|---|\n| vllm | Ann Example |\n| kvbm | Bo |\n\n\
                        | CI Area | Point of Contact (PIC) |\n|---|---|\n| Test Fail | Cy |\n| Docker Build | Di |\n| Security/OSRB | Ed |\n";
    const AREAS: &str = "meta:\n  catch_all: '@org/runtime'\nareas:\n- label: planner\n  github_team: '@org/planner'\n  path_globs:\n  - components/planner/\n- label: backend-vllm\n  github_team: '@org/vllm'\n  path_globs: []\n- label: kv-memory\n  github_team: '@org/kv'\n  path_globs:\n  - lib/kvbm/\nrequired_owners:\n- glob: deploy/operator/\n  owners:\n  - operator\nshared:\n- glob: lib/x.rs\n  owners:\n  - planner\n  - kv-memory\nclassify:\n  filetype_rules:\n  - pattern: '*Dockerfile*'\n    coowner: ops\n";
    const CODE: &str = "# generated\n* @org/runtime\n/components/src/dynamo/router/ @org/router @someone # whose\n/docs/with\\ blank/\n";

    fn all() -> Owners {
        let mut owners = Owners::read("pics.md", PICS).unwrap();
        assert_eq!(
            owners.merge(Owners::read(".github/areas.yaml", AREAS).unwrap()),
            Vec::<String>::new()
        );
        assert_eq!(owners.merge(Owners::read("CODEOWNERS", CODE).unwrap()), Vec::<String>::new());
        owners
    }

    #[test]
    fn merged_tables_round_trip() {
        let owners = all();
        let names: Vec<&str> = owners.components.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["vllm", "kvbm", "planner", "kv-memory", "router"]);
        let areas: Vec<&str> = owners.areas.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(areas, ["test_fail", "docker_build", "security"]);
        assert_eq!(owners.paths.len(), 9, "{:?}", owners.paths);
        for (form, name) in
            [(OwnersFormat::Toml, "owners.toml"), (OwnersFormat::Markdown, "owners.md")]
        {
            let text = owners.write(form);
            assert_eq!(Owners::read(name, &text).unwrap(), owners, "{text}");
            assert_eq!(Owners::read(name, &text).unwrap().write(form), text);
        }
    }

    #[test]
    fn owner_lookup() {
        let owners = all();
        for (component, under, pic) in [
            ("vllm", "vllm", "Ann Example"),
            ("VLLM", "vllm", "Ann Example"),
            ("backend-vllm", "vllm", "Ann Example"),
            ("kvbm", "kvbm", "Bo"),
            ("nixl", "kv-memory", "@org/kv"),
            ("planner", "planner", "@org/planner"),
            ("router", "router", "@org/router"),
            ("docker_build", "docker_build", "Di"),
            ("security", "security", "Ed"),
            ("frontend", "test_fail", "Cy"),
            ("", "test_fail", "Cy"),
        ] {
            let owner = owners.of(component);
            assert_eq!(
                (owner.component.as_deref(), owner.pic.as_deref()),
                (Some(under), Some(pic)),
                "{component}"
            );
        }
        assert_eq!(Owners::default().of("vllm"), Owner::default());
    }

    #[test]
    fn tables_merge_in_any_order() {
        let codeowners = Owners::merged([("CODEOWNERS", CODE)]);
        assert_eq!(codeowners.of("router").pic.as_deref(), Some("@org/router"));
        assert_eq!(
            codeowners.of("vllm"),
            Owner { component: Some(FALLBACK.into()), pic: Some("@org/runtime".into()) }
        );
        let areas = Owners::merged([("areas.yaml", AREAS)]);
        assert_eq!(areas.of("prefill").pic.as_deref(), Some("@org/runtime"));
        let pics = "| Component | PIC |\n|---|---|\n| kvbm | Bo |\n| nixl | Al |\n| vllm | Vi |\n";
        for tables in [[("a.yaml", AREAS), ("p.md", pics)], [("p.md", pics), ("a.yaml", AREAS)]] {
            let owners = Owners::merged(tables);
            for (component, pic) in [
                ("kvbm", "Bo"),
                ("nixl", "Al"),
                ("vllm", "Vi"),
                ("backend-vllm", "Vi"),
                ("kv-memory", "@org/kv"),
            ] {
                assert_eq!(owners.of(component).pic.as_deref(), Some(pic), "{component}");
            }
        }
        // The last rule wins, even if it repeats an earlier one.
        let again = Owners::merged([(
            "CODEOWNERS",
            "/x @1\n/x @2\n/x @1\n/components/src/dynamo/router/ @a\n/components/src/dynamo/router/ @b\n",
        )]);
        assert_eq!(
            again.paths.iter().map(|rule| rule.owners[0].as_str()).collect::<Vec<_>>(),
            ["@2", "@1", "@a", "@b"]
        );
        assert_eq!(again.of("router").pic.as_deref(), Some("@b"));
        assert_eq!(
            Owners::merged([("o.toml", "[component.vllm]\npic = \"\"\n")]).of("x"),
            Owner { component: Some(FALLBACK.into()), pic: None }
        );
    }

    impl Owners {
        fn merged<'t>(tables: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
            let mut owners = Self::default();
            for (name, text) in tables {
                assert_eq!(owners.merge(Self::read(name, text).unwrap()), Vec::<String>::new());
            }
            owners
        }
    }

    #[test]
    fn markdown_tables_of_many_shapes() {
        for (table, expected) in [
            (
                "| Area | Component owner |\n|---|---|\n| Docker Build | Rudy |\n",
                "area docker_build Rudy",
            ),
            (
                "| Component | Topic | PIC |\n|---|---|---|\n| router | routing | Rudy |\n",
                "component router Rudy",
            ),
            (
                "| Component | PIC GitHub | PIC |\n|---|---|---|\n| router | @r | Rudy |\n",
                "component router Rudy",
            ),
            ("Module | Team\n---|---\nrouter | Rudy", "component router Rudy"),
            (
                "| Component | PIC |\n|---|---|\n| **[router](http://x)** | `Rudy` \\| Ann |\n",
                "component router Rudy | Ann",
            ),
            (
                "\u{feff}| Component | PIC |\r\n|---|---|\r\n| 路由 | Rudy |\r\n",
                "component 路由 Rudy",
            ),
            ("| Component | PIC |\n|---|---|\n| TensorRT-LLM | Rudy |\n", "component trtllm Rudy"),
            (
                "| Component | PIC |\n|---|---|\n| planner, autoscaler | Rudy |\n",
                "component planner Rudy autoscaler",
            ),
        ] {
            let owners = Owners::read("p.md", table).unwrap();
            let (kind, rows) = if owners.areas.is_empty() {
                ("component", &owners.components)
            } else {
                ("area", &owners.areas)
            };
            let row = &rows[0];
            let other = format!(
                "{kind} {} {} {}",
                row.name,
                row.pic.as_deref().unwrap_or("-"),
                row.aliases.join(" ")
            );
            assert_eq!(other.trim(), expected, "{table}");
            let again = Owners::read("p.md", &owners.write(OwnersFormat::Markdown)).unwrap();
            assert_eq!(again, owners, "{}", owners.write(OwnersFormat::Markdown));
        }
    }

    #[test]
    fn names_are_normalized() {
        let areas = Owners::merged([(
            "areas.yaml",
            "areas:\n- label: Backend-vLLM\n  github_team: '@v'\n",
        )]);
        assert_eq!(
            areas.of("vllm"),
            Owner { component: Some("backend-vllm".into()), pic: Some("@v".into()) }
        );
        assert_eq!(Owners::read("owners.toml", &areas.write(OwnersFormat::Toml)).unwrap(), areas);
    }

    #[test]
    fn conflicts_are_reported() {
        let mut owners =
            Owners::read("a.toml", "[component.vllm]\npic = \"A\"\nslack = \"#v\"\n").unwrap();
        let conflicts = owners.merge(
            Owners::read("b.toml", "[component.VLLM]\npic = \"B\"\nemail = \"v@example.com\"\n")
                .unwrap(),
        );
        assert_eq!(conflicts, ["`vllm`: conflicting pic: keeping `A`, ignoring `B`"]);
        let row = &owners.components[0];
        assert_eq!(
            (row.pic.as_deref(), row.slack.as_deref(), row.email.as_deref()),
            (Some("A"), Some("#v"), Some("v@example.com"))
        );
    }

    #[test]
    fn invalid_tables_are_rejected() {
        for (name, text, part) in [
            ("owners.toml", "[component.x\npic = 1", "line 1"),
            ("owners.toml", "[component.x]\npic = 1\n", "line 2"),
            ("owners.toml", "[component.x]\npick = \"A\"\n", "pick"),
            ("areas.yaml", "areas:\n- label: [\n", "areas.yaml"),
            ("areas.yaml", "areas:\n- lable: x\n", "lable"),
            ("a.md", "no table", "no owner found"),
            ("CODEOWNERS", "# nothing\n", "no owner found"),
        ] {
            let error = Owners::read(name, text).unwrap_err().to_string();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
