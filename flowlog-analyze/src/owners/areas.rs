//! Dynamo's `.github/codeowners/areas.yaml`, from which its CODEOWNERS is generated.

use serde::Deserialize;

use super::{OwnerEntry, Owners, PathRule, Tier};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    areas: Vec<Area>,
    #[serde(default)]
    required_owners: Vec<Shared>,
    #[serde(default)]
    shared: Vec<Shared>,
    #[serde(default)]
    classify: Classify,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Meta {
    catch_all: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    label: String,
    github_team: Option<String>,
    #[serde(default)]
    path_globs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    glob: String,
    owners: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Classify {
    #[serde(default)]
    filetype_rules: Vec<FileType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileType {
    pattern: String,
    coowner: String,
}

/// Components that a label covers under other names.
const PLACEHOLDERS: [(&str, &[&str]); 2] =
    [("kv-memory", &["kvbm", "nixl"]), ("ops", &["docker_build"])];

pub(super) fn read(text: &str) -> Result<Owners, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut owners = Owners::default();
    let mut add = |rule: Tier, pattern: String, names: Vec<String>| {
        owners.paths.push(PathRule { pattern, owners: names, rule });
    };
    if let Some(team) = file.meta.catch_all {
        add(Tier::CatchAll, "*".to_owned(), vec![team]);
    }
    for area in file.areas {
        for glob in area.path_globs {
            add(Tier::Area, glob, vec![area.label.clone()]);
        }
        let name = area.label.to_ascii_lowercase();
        let known = PLACEHOLDERS.iter().find(|(label, _)| *label == name).map(|(_, names)| *names);
        let engine = name.strip_prefix("backend-");
        let aliases = known
            .unwrap_or_default()
            .iter()
            .copied()
            .chain(engine)
            .map(ToOwned::to_owned)
            .collect();
        owners.components.push(OwnerEntry {
            name,
            github: area.github_team,
            aliases,
            ..OwnerEntry::default()
        });
    }
    for (tier, rules) in [(Tier::Required, file.required_owners), (Tier::Shared, file.shared)] {
        owners.paths.extend(rules.into_iter().map(|rule| PathRule {
            pattern: rule.glob,
            owners: rule.owners,
            rule: tier,
        }));
    }
    let filetypes = file.classify.filetype_rules.into_iter();
    owners.paths.extend(filetypes.map(|rule| PathRule {
        pattern: rule.pattern,
        owners: vec![rule.coowner],
        rule: Tier::FileType,
    }));
    Ok(owners)
}
