//! Whose a component is: the table of owners, read from wherever a team keeps it, and looked up.
//!
//! Rows are components and CI areas; what no row names falls to the area `test_fail`, so that nothing is dropped. A table
//! comes from `owners.toml`, from a Markdown table of points of contact, from Dynamo's `areas.yaml`, or from CODEOWNERS; each
//! adds what the others leave out, and all of it goes out again as TOML or Markdown. Comments are not kept.

mod areas;
mod codeowners;
mod file;
mod markdown;

use flowlog_schema::report::Owner;

use crate::format::code;

/// The area of what no row names.
pub const FALLBACK: &str = "test_fail";

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Components, in the order in which they were read.
    pub components: Vec<Row>,
    /// CI areas, likewise.
    pub areas: Vec<Row>,
    /// Who owns which files, in the order that decides: of several that match the last.
    pub paths: Vec<PathRule>,
}

/// One component or area.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its key, as the report spells it.
    pub name: String,
    /// Its heading in a table, where that is spelt otherwise.
    pub title: Option<String>,
    /// Point of contact.
    pub pic: Option<String>,
    /// GitHub team or user.
    pub github: Option<String>,
    /// Slack channel or member.
    pub slack: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Other names of it.
    pub aliases: Vec<String>,
}

/// Who owns the files that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// As its file spells it.
    pub pattern: String,
    /// Names of rows, or handles; nobody's where there are none.
    pub owners: Vec<String>,
    /// The part of the file that it stands in.
    pub rule: Tier,
}

/// Parts of the files that know paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    const ALL: [Self; 6] = [Self::CatchAll, Self::Area, Self::Required, Self::Shared, Self::FileType, Self::Codeowners];

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

/// Why a file is no table of owners.
#[derive(Debug, thiserror::Error)]
pub enum OwnersError {
    /// Its syntax is wrong; the message tells the line.
    #[error("failed to read `{name}`: {message}")]
    Syntax {
        /// The file.
        name: String,
        /// Where and why.
        message: String,
    },
    /// It holds no owner at all.
    #[error(
        "no owner found in `{name}`: it should be an `owners.toml`, a Markdown table with a column for the point of contact, an `areas.yaml` or a CODEOWNERS file"
    )]
    Empty {
        /// The file.
        name: String,
    },
}

/// The forms in which a table goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnersForm {
    /// `owners.toml`.
    Toml,
    /// Markdown tables.
    Markdown,
}

impl Owners {
    /// Reads a table; its name's ending tells in which form it is.
    ///
    /// # Errors
    /// Where the text is in none of the forms, or names nobody.
    pub fn read(name: &str, text: &str) -> Result<Self, OwnersError> {
        let syntax = |message: String| OwnersError::Syntax { name: name.to_owned(), message };
        let stem = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let owners = match stem.rsplit_once('.').map_or(stem.as_str(), |(_, end)| end) {
            "toml" => file::read(text).map_err(syntax)?,
            "yaml" | "yml" => areas::read(text).map_err(syntax)?,
            "codeowners" => codeowners::read(text),
            _ => markdown::read(text),
        };
        if owners.components.is_empty() && owners.areas.is_empty() && owners.paths.is_empty() {
            return Err(OwnersError::Empty { name: name.to_owned() });
        }
        Ok(owners)
    }

    /// Writes the table.
    pub fn write(&self, form: OwnersForm) -> String {
        match form {
            OwnersForm::Toml => file::write(self),
            OwnersForm::Markdown => markdown::write(self),
        }
    }

    /// Adds what another table knows. Where both know something different, the first is kept, and a sentence says so.
    pub fn merge(&mut self, other: Self) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (mine, theirs) in [(&mut self.components, other.components), (&mut self.areas, other.areas)] {
            for row in theirs {
                match mine.iter_mut().find(|known| {
                    known.is_named(&row.name) || row.aliases.iter().any(|alias| known.name == *alias && row.stands_for(alias))
                }) {
                    Some(known) => known.merge(row, &mut conflicts),
                    None => mine.push(row),
                }
            }
        }
        for rule in other.paths {
            if !self.paths.contains(&rule) {
                self.paths.push(rule);
            }
        }
        self.name_teams();
        conflicts
    }

    /// Gives rows without a team that of the paths where their code lies.
    fn name_teams(&mut self) {
        for row in self.components.iter_mut().filter(|row| row.github.is_none()) {
            let own = |rule: &&PathRule| code::of_path(&rule.pattern) == Some(row.name.as_str());
            let handle = self.paths.iter().filter(|rule| rule.rule == Tier::Codeowners).find(own).and_then(|rule| rule.owners.first());
            row.github = handle.cloned();
        }
    }

    /// Whose a component, or a CI area, is; of nobody's where the table is empty.
    pub fn of(&self, component: &str) -> Owner {
        let rows = || self.components.iter().chain(&self.areas);
        let found = rows()
            .find(|row| row.name.eq_ignore_ascii_case(component))
            .or_else(|| rows().find(|row| row.is_named(component)))
            .or_else(|| self.areas.iter().find(|row| row.name == FALLBACK));
        found.map_or_else(Owner::default, |row| Owner {
            component: Some(row.name.clone()),
            pic: row.pic.clone().or_else(|| row.github.clone()),
        })
    }
}

impl Row {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// Whether the row is another spelling of one component, rather than one that several belong to.
    fn stands_for(&self, alias: &str) -> bool {
        self.aliases.len() == 1 && self.name.ends_with(alias)
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
                (Some(known), Some(told)) if **known != told => {
                    conflicts.push(format!("`{name}`: {field} is `{known}`, elsewhere `{told}`"));
                }
                (None, Some(told)) => *mine = Some(told),
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

/// A heading as a key: `Security/OSRB` is `security_osrb`.
fn key_of(title: &str) -> String {
    let mut key = String::new();
    for c in title.trim().chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
            key.push(c.to_ascii_lowercase());
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
        assert_eq!(owners.merge(Owners::read(".github/areas.yaml", AREAS).unwrap()), Vec::<String>::new());
        assert_eq!(owners.merge(Owners::read("CODEOWNERS", CODE).unwrap()), Vec::<String>::new());
        owners
    }

    #[test]
    fn what_was_imported_is_exported() {
        let owners = all();
        let names: Vec<&str> = owners.components.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["vllm", "kvbm", "planner", "kv-memory"]);
        let areas: Vec<&str> = owners.areas.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(areas, ["test_fail", "docker_build", "security"]);
        assert_eq!(owners.paths.len(), 9, "{:?}", owners.paths);
        for (form, name) in [(OwnersForm::Toml, "owners.toml"), (OwnersForm::Markdown, "owners.md")] {
            let text = owners.write(form);
            assert_eq!(Owners::read(name, &text).unwrap(), owners, "{text}");
            assert_eq!(Owners::read(name, &text).unwrap().write(form), text);
        }
    }

    #[test]
    fn whose_a_component_is() {
        let owners = all();
        for (component, under, pic) in [
            ("vllm", "vllm", "Ann Example"),
            ("VLLM", "vllm", "Ann Example"),
            ("backend-vllm", "vllm", "Ann Example"),
            ("kvbm", "kvbm", "Bo"),
            ("nixl", "kv-memory", "@org/kv"),
            ("planner", "planner", "@org/planner"),
            ("docker_build", "docker_build", "Di"),
            ("security", "security", "Ed"),
            ("frontend", "test_fail", "Cy"),
            ("", "test_fail", "Cy"),
        ] {
            let owner = owners.of(component);
            assert_eq!((owner.component.as_deref(), owner.pic.as_deref()), (Some(under), Some(pic)), "{component}");
        }
        assert_eq!(Owners::default().of("vllm"), Owner::default());
    }

    #[test]
    fn differing_tables_are_told() {
        let mut owners = Owners::read("a.toml", "[component.vllm]\npic = \"A\"\nslack = \"#v\"\n").unwrap();
        let conflicts = owners.merge(Owners::read("b.toml", "[component.VLLM]\npic = \"B\"\nemail = \"v@example.com\"\n").unwrap());
        assert_eq!(conflicts, ["`vllm`: pic is `A`, elsewhere `B`"]);
        let row = &owners.components[0];
        assert_eq!((row.pic.as_deref(), row.slack.as_deref(), row.email.as_deref()), (Some("A"), Some("#v"), Some("v@example.com")));
    }

    #[test]
    fn what_is_no_table_says_so() {
        for (name, text, part) in [
            ("owners.toml", "[component.x\npic = 1", "line 1"),
            ("owners.toml", "[component.x]\npic = 1\n", "`component.x`"),
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
