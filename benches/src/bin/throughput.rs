//! How fast logs are triaged, beside peers in the same run.
fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let form = arguments.next().unwrap_or_default();
    let folder = std::path::PathBuf::from(arguments.next().unwrap_or_default());
    let mib: u64 = arguments.next().unwrap_or_default().parse()?;
    if form == "sparse" {
        eprintln!("{:?}", flowlog_benches::inputs::sparse(&folder, mib << 20)?);
        return Ok(());
    }
    let form = match form.as_str() {
        "json" => flowlog_simulator::Form::Json,
        "text" => flowlog_simulator::Form::Text,
        _ => flowlog_simulator::Form::Mixed,
    };
    let input = flowlog_benches::inputs::records(&folder, form, mib << 20)?;
    eprintln!("{input:?}");
    Ok(())
}
