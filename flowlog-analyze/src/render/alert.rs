//! One line that tells what went wrong.

use flowlog_schema::Time;

use super::Paint;
use crate::evidence::printable;
use crate::ingest::Alert;
use crate::names;

/// An alert of a source of that name; `count` are alike since the last that was told, and `follows` says that its flow had
/// failed before.
pub fn alert(alert: &Alert, source: &str, count: u64, follows: bool, paint: Paint) -> String {
    let time = alert.time.map_or_else(|| "-".to_owned(), |time| Time(time).to_string());
    let of_file = names::of_file(source);
    let component = [
        alert.component.as_str(),
        names::component_in(&alert.instance).unwrap_or_default(),
        of_file.component.unwrap_or_default(),
    ];
    let component = component.into_iter().find(|name| !name.is_empty()).unwrap_or("unknown");
    let mut who = paint.bold(&printable(component, 100));
    if !alert.instance.is_empty() {
        who = format!("{who} ({})", printable(&alert.instance, 100));
    }
    let mut what = if alert.flow.is_some() { "failed".to_owned() } else { "in trouble".to_owned() };
    if !alert.state.is_empty() {
        what = format!("{what} in {}", printable(&alert.state, 100));
    }
    let what = if follows { paint.yellow(&what) } else { paint.red(&what) };
    let words = [alert.kind.as_str(), alert.message.lines().next().unwrap_or_default()];
    let words: Vec<String> = words
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| printable(part, 300))
        .collect();
    let mut notes = Vec::new();
    if let Some(flow) = &alert.flow {
        notes.push(format!("flow {}", printable(&flow.to_string(), 100)));
    }
    if follows {
        notes.push("which had failed before".to_owned());
    }
    if count > 1 {
        notes.push(format!("{count} times since"));
    }
    if source != "-" {
        notes.push(format!("in {}", printable(source, 200)));
    }
    let notes = if notes.is_empty() {
        String::new()
    } else {
        paint.dim(&format!("  [{}]", notes.join(", ")))
    };
    format!("{time}  {who} {what}: {}{notes}", words.join(": "))
}
