//! Devices past the link budget: nobody hears how they are, and they are good for work all the same.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{FAST, Grind, Input, LINK_BUDGET, config, logs, options, start, until_running_on};
use softbus_net::Presence;
use softbus_net::seam::memory::World;
use softbus_task::TaskError;
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn work_goes_to_a_device_that_is_no_neighbour_and_it_stays_in_sight() {
    logs();
    LINK_BUDGET.set(2);
    let world = World::new(51);
    let names: Vec<String> = (0..8).map(|n| format!("device-{n}")).collect();
    let mut home = Vec::new();
    for name in &names {
        home.push(start(&world, name, FAST, &names, config()).await);
    }
    let all_in_sight = |device: &common::Device| {
        let mut view = device.roster.watch();
        async move {
            let ready = view.wait_for(|view| {
                let seen = view.entries.values().filter(|entry| {
                    let typed = entry.profile.as_ref().is_some_and(|p| !p.task_types.is_empty());
                    entry.id == view.me || (typed && entry.presence == Presence::Online)
                });
                seen.count() == 8
            });
            timeout(Duration::from_secs(300), ready).await.expect("not all are in sight").unwrap();
        }
    };
    for device in &home {
        all_in_sight(device).await;
    }
    sleep(Duration::from_secs(120)).await;
    let view = home[0].roster.view();
    let unheard = |n: &usize| {
        let now = view.get(&home[*n].id()).unwrap().now.clone();
        now.is_none_or(|now| now.age(tokio::time::Instant::now()) > Duration::from_secs(60))
    };
    let distant = (1..8).find(unheard);
    let distant = &home[distant.expect("each is a neighbour of the first")];

    let input = Input::turns(200_000);
    let mut options = options("far");
    options.hints.only = [distant.id()].into();
    let handle = home[0].tasks.run::<Grind>(&input, options.clone()).await.unwrap();
    until_running_on(&handle, distant).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());

    // Its link rests by and by. It does not look asleep for that.
    sleep(Duration::from_secs(300)).await;
    all_in_sight(&home[0]).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(home[0].roster.view().get(&distant.id()).unwrap().presence, Presence::Online);

    // Whoever is gone is not waited for long.
    distant.host.kill();
    sleep(Duration::from_secs(1)).await;
    let gone = home[0].tasks.run::<Grind>(&input, options).await;
    assert!(matches!(gone, Err(TaskError::NoPlace(_))), "{:?}", gone.map(|handle| handle.id()));
}
