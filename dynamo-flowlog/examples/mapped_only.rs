use dynamo_flowlog::{Emitter, Sink};
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let n: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let sink = if dir == "none" { Sink::Nothing } else { Sink::mapped(format!("{dir}/m")) };
    let e = Emitter::builder("router").instance("router-0").version("dynamo", "1.6.1").sink(sink).build().unwrap();
    let flow = e.start("chat_completion");
    for _ in 0..4 {
        let t = std::time::Instant::now();
        for at in 0..n {
            let fields = [
                ("tokens", at.into()),
                ("model", "tiny".into()),
                ("queue_depth", 3.into()),
                ("cached_share", 0.5.into()),
                ("streams", true.into()),
            ];
            flow.state_with("prefill", &fields);
        }
        println!("{} ns", t.elapsed().as_nanos() / n as u128);
    }
    flow.end();
}
