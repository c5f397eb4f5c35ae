use softbus_placement::{
    Because, Candidate, Link, Preferences, Reach, Running, Trust, Verdict, Weights, Work, place,
};

use crate::home::{fixed, id, now, profile};

/// The phone decides; a TV, a car and a sensor are near.
fn demo_home() -> Vec<Candidate> {
    let link = Link { rtt_us: 2_000, rate_bytes_per_s: 50_000_000, loss_permille: 0 };
    let remote = |n, name, cores, rate, memory: u64| {
        Candidate::remote(id(n), profile(id(n), name, cores, rate, memory << 20), Trust::Member, link)
    };
    let mut phone = Candidate::local(id(1), remote(1, "phone", 8, 500_000_000, 2048).profile);
    now(&mut phone).battery_permille = Some(800);
    now(&mut phone).power = softbus_core::PowerSource::Battery;
    vec![
        phone,
        remote(2, "tv", 4, 2_000_000_000, 4096),
        remote(3, "car", 4, 1_500_000_000, 4096),
        remote(4, "sensor", 1, 50_000_000, 64),
    ]
}

fn work() -> Work {
    Work {
        ops: 8_000_000_000,
        memory_bytes: 200 << 20,
        input_bytes: 5_000_000,
        output_bytes: 5_000_000,
        ..Work::default()
    }
}

#[test]
fn reads_like_a_person_would_say_it() {
    let decision = place(&work(), &demo_home(), &Weights::default(), &Preferences::default());
    let expected = "\
tv: 4.2 s; car would take 5.5 s (slower cores); phone would take 20.4 s (slower cores); sensor cannot: memory 64 MiB < 200 MiB

device   total      in  compute     out  energy  verdict
tv       4.2 s  102 ms    4.0 s  102 ms       0  chosen
car      5.5 s  102 ms    5.3 s  102 ms       0  1.3 s longer: slower cores
phone   20.4 s       0   16.0 s       0   4.4 s  16.1 s longer: slower cores
sensor       –       –        –       –       –  cannot: memory 64 MiB < 200 MiB
";
    assert_eq!(decision.explanation.to_string(), expected);
}

#[test]
fn devices_of_one_name_are_told_apart() {
    let mut home = demo_home();
    let names = ["box", "Box", "car", ""];
    for (candidate, name) in home.iter_mut().zip(names) {
        fixed(candidate).name = name.into();
    }
    let text = place(&work(), &home, &Weights::default(), &Preferences::default()).explanation.to_string();
    let [first, second, _, fourth] = [1, 2, 3, 4].map(|n| id(n).short());
    for label in [format!("box …{first} "), format!("Box …{second}: 4.2 s"), format!("; …{fourth} cannot")]
    {
        assert!(text.contains(&label), "{label}\n{text}");
    }
    assert!(!text.contains("car …"), "{text}");
}

#[test]
fn says_why_a_task_moves_and_why_it_stays() {
    let mut home = demo_home();
    home[0].reach = Reach::Link(Link { rtt_us: 2_000, rate_bytes_per_s: 50_000_000, loss_permille: 0 });
    home[2].reach = Reach::Local; // the car decides now
    now(&mut home[2]).rate_ops_per_s = 1_700_000_000;
    let mut work = Work { home: Some(id(1)), ..work() };
    work.running = Some(Running::counted(id(3), 10_000_000, 0));
    work.state_bytes = 5_000_000;
    let decide = |home: &[Candidate]| {
        place(&work, home, &Weights::default(), &Preferences::default()).explanation.summary()
    };
    assert_eq!(
        decide(&home),
        "stays on car: 4.8 s; tv would take 4.3 s, but a gain of 496 ms is not worth a move (less than 962 ms); \
         phone would take 20.6 s (slower cores); sensor cannot: memory 64 MiB < 200 MiB"
    );
    now(&mut home[2]).load_permille = 950;
    assert_eq!(
        decide(&home),
        "moves to tv: 4.3 s; phone would take 20.6 s (slower cores); car would take 23.6 s (busy with other things); \
         sensor cannot: memory 64 MiB < 200 MiB"
    );
}

#[test]
fn the_largest_difference_is_named() {
    let because = |change: &dyn Fn(&mut Candidate, &mut Work)| {
        let mut home = demo_home();
        home.truncate(3);
        home.remove(0);
        let mut work = Work { home: Some(id(9)), ..work() };
        home[1].profile = home[0].profile.clone();
        change(&mut home[1], &mut work);
        let decision = place(&work, &home, &Weights::default(), &Preferences::default());
        assert_eq!(decision.chosen, Some(id(2)));
        match &decision.explanation.row(&id(3)).unwrap().verdict {
            Verdict::Lost { because, .. } => because.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(because(&|_, _| {}), Because::Tie);
    assert_eq!(because(&|c, _| now(c).rate_ops_per_s /= 2), Because::SlowerCores);
    assert_eq!(because(&|c, _| now(c).thermal = softbus_core::Thermal::Serious), Because::Hot);
    assert_eq!(because(&|c, _| now(c).load_permille = 990), Because::Busy);
    assert_eq!(
        because(&|c, w| {
            w.parallelism = 4;
            fixed(c).cores = 2;
        }),
        Because::FewerCores
    );
    assert_eq!(
        because(&|c, _| {
            now(c).running_tasks = 9;
            now(c).queued_ops = 90_000_000_000;
        }),
        Because::OtherWork
    );
    let far = Link { rtt_us: 2_000, rate_bytes_per_s: 1_000_000, loss_permille: 0 };
    assert_eq!(because(&|c, _| c.reach = Reach::Link(far)), Because::Transfer);
    assert_eq!(
        because(&|c, _| {
            now(c).power = softbus_core::PowerSource::Battery;
            now(c).battery_permille = Some(500);
        }),
        Because::Battery(500)
    );
    let distant = Link { rtt_us: 80_000, rate_bytes_per_s: 50_000_000, loss_permille: 0 };
    assert_eq!(
        because(&|c, w| {
            w.latency = softbus_core::Latency::Interactive;
            c.reach = Reach::Link(distant);
        }),
        Because::Distance
    );
}

#[test]
fn nobody_there_is_said_too() {
    let none = place(&work(), &[], &Weights::default(), &Preferences::default());
    assert_eq!(none.explanation.to_string(), "no device is known that could take it\n");
    let sensor = demo_home().split_off(3);
    let none = place(&work(), &sensor, &Weights::default(), &Preferences::default());
    assert!(none.explanation.summary().starts_with("no device can take it: sensor cannot: memory"));
}
