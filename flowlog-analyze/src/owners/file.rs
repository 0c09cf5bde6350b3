//! `owners.toml`: `[component.NAME]`, `[area.NAME]` and `[[path]]`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{OwnerEntry, Owners, PathRule};

#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    component: IndexMap<String, OwnerEntry>,
    area: IndexMap<String, OwnerEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path: Vec<PathRule>,
}

pub(super) fn read(text: &str) -> Result<Owners, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    let named = |rows: IndexMap<String, OwnerEntry>| {
        rows.into_iter()
            .map(|(name, row)| OwnerEntry { name: name.to_ascii_lowercase(), ..row })
            .collect()
    };
    Ok(Owners { components: named(file.component), areas: named(file.area), paths: file.path })
}

pub(super) fn write(owners: &Owners) -> String {
    let by_name =
        |rows: &[OwnerEntry]| rows.iter().map(|row| (row.name.clone(), row.clone())).collect();
    let file = File {
        component: by_name(&owners.components),
        area: by_name(&owners.areas),
        path: owners.paths.clone(),
    };
    // Tables of strings and lists always serialize.
    toml::to_string(&file).unwrap_or_default()
}
