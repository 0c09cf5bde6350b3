//! Alerts, one line each.

use flowlog_schema::Time;

use super::Style;
use crate::component_names;
use crate::evidence::sanitize;
use crate::ingest::Alert;

/// Formats an alert for a line in the source with that name.
///
/// `count` is the number of similar alerts since the last printed one, this one included. `follows`
/// marks an alert of a flow that had failed before.
pub fn alert(alert: &Alert, source: &str, count: u64, follows: bool, style: Style) -> String {
    let time = alert.time.map_or_else(|| "-".to_owned(), |time| Time(time).to_string());
    let of_file = component_names::of_file(source);
    let component = [
        alert.component.as_str(),
        component_names::component_in(&alert.instance).unwrap_or_default(),
        of_file.component.unwrap_or_default(),
    ];
    let component = component.into_iter().find(|name| !name.is_empty()).unwrap_or("unknown");
    let mut component_and_instance = style.bold(&sanitize(component, 100));
    if !alert.instance.is_empty() {
        component_and_instance =
            format!("{component_and_instance} ({})", sanitize(&alert.instance, 100));
    }
    let mut what = if alert.flow.is_some() { "failed".to_owned() } else { "unhealthy".to_owned() };
    if !alert.state.is_empty() {
        what = format!("{what} in {}", sanitize(&alert.state, 100));
    }
    let what = if follows { style.yellow(&what) } else { style.red(&what) };
    let words = [alert.kind.as_str(), alert.message.lines().next().unwrap_or_default()];
    let words: Vec<String> =
        words.into_iter().filter(|part| !part.is_empty()).map(|part| sanitize(part, 300)).collect();
    let mut notes = Vec::new();
    if let Some(flow) = &alert.flow {
        notes.push(format!("flow {}", sanitize(&flow.to_string(), 100)));
    }
    if follows {
        notes.push("failed before".to_owned());
    }
    if count > 1 {
        notes.push(format!("{count} times since the last alert"));
    }
    if source != "-" {
        notes.push(format!("in {}", sanitize(source, 200)));
    }
    let notes = if notes.is_empty() {
        String::new()
    } else {
        style.dim(&format!("  [{}]", notes.join(", ")))
    };
    format!("{time}  {component_and_instance} {what}: {}{notes}", words.join(": "))
}
