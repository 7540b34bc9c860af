//! The `dismantle` command with the built-in scenarios.
use dismantle_sim::{Options, Plan, Runner, Seed};
fn main() {
    let s = dismantle::catalogue::built_in()[0];
    let plan = Plan::new(dismantle::vocabulary(s));
    let runner = Runner::new();
    let mut m = std::collections::BTreeMap::<String, u32>::new();
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let a: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    for seed in a..n {
        let r = runner.run(
            &plan,
            &Options {
                seed: Some(Seed(seed)),
                ..Options::default()
            },
            |sim| s.run(sim),
        );
        let k = if let Some(p) = r.panics.first() {
            format!("{} {}", p.site, p.message)
        } else if let Some(p) = r.pending.iter().find(|p| p.must_end) {
            format!("hang {}", p.task.kind())
        } else if !r.never_destroyed.is_empty() {
            let mut k: Vec<_> = r.never_destroyed.keys().map(|k| k.kind()).collect();
            k.sort();
            k.dedup();
            format!("leak {k:?}")
        } else if r.limit.is_some() {
            "limit".into()
        } else {
            "clean".into()
        };
        *m.entry(k).or_default() += 1;
    }
    for (k, v) in m {
        println!("{v} {k}");
    }
}
