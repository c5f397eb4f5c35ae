//! A cut of power at any moment: what was acknowledged is there, and nothing by half.

use super::*;

/// What a device was told is done, when its disk failed at some write.
#[derive(Default, Debug)]
struct Acknowledged {
    /// Writes and syncs until the database was made.
    made: u64,
    founded: Option<softbus_core::CircleId>,
    admitted: bool,
    removed: bool,
}

/// Founds a circle, admits a device, removes it and goes on, as far as the disk goes along.
async fn short_life(host: &Host, other: &Arc<Keeper>) -> Acknowledged {
    let mut done = Acknowledged::default();
    let seam = host.seam();
    let Ok(store) = Store::open(&seam).await else { return done };
    let (writes, syncs) = host.disk().writes();
    done.made = writes + syncs;
    let Ok(a) = Keeper::open(store, seam, key(1)).await else { return done };
    let Ok(founded) = a.found("home").await else { return done };
    done.founded = Some(founded.circle);
    if a.open_pairing(PairOptions::default()).await.is_err() {
        return done;
    }
    // The joiner says so when it has the circle, and it has that of one who admitted it durably.
    done.admitted = pair(&a, other, &shown(&a), PairOptions::default()).await.is_ok();
    done.removed = done.admitted && a.remove(None, other.id()).await.is_ok();
    for n in 1..=3 {
        let rule = softbus_trust::Rule { least: Some(Role::Owner), ..Default::default() };
        let _ = a.set_rule(&format!("camera/{n}"), rule).await;
    }
    done
}

/// Power is cut at one write after another of a device's first hours, on a disk that drops and tears whatever was not synced.
/// What was acknowledged is there afterwards, and nothing is there by half.
#[tokio::test(start_paused = true)]
async fn whenever_power_is_cut_what_was_acknowledged_is_there_and_nothing_by_half() {
    const CUTS: u64 = 48;
    let begin = |seed: u64| async move {
        let world = World::new(seed);
        let (ha, hb) = (world.host("a"), world.host("b"));
        let b = keeper(&hb, 2).await;
        (world, ha, hb, b)
    };
    // The making of the database itself is not cut here: the store's own tests do.
    let (made, total) = {
        let (_world, ha, _hb, b) = begin(0).await;
        let done = short_life(&ha, &b).await;
        assert!(done.removed, "{done:?}");
        let (writes, syncs) = ha.disk().writes();
        (done.made, writes + syncs)
    };
    let (mut founded, mut admitted, mut removed) = (0, 0, 0);
    for cut in 0..CUTS {
        // All of them in turn, at odd distances.
        let at = made + (total - made) * cut / CUTS;
        let (_world, ha, _hb, b) = begin(1 + cut).await;
        ha.disk().fail_after(Some(at));
        let done = short_life(&ha, &b).await;
        ha.crash_torn(1000 + cut);
        ha.disk().fail_after(None);
        ha.restart();
        let a = keeper(&ha, 1).await;
        let circles = a.circles().circles.clone();
        assert!(circles.len() <= 1, "cut at {at}");
        if let Some(circle) = circles.values().next() {
            assert!(circle.is_owner(&id(1), a.wall()), "a circle by half; cut at {at}");
        }
        if let Some(circle) = done.founded {
            founded += 1;
            assert!(circles.contains_key(&circle), "founded and forgotten; cut at {at}");
        }
        let member = trusts(&a, 2);
        if done.removed {
            removed += 1;
            assert_eq!(member, None, "removed and trusted again; cut at {at}");
        } else if done.admitted {
            admitted += 1;
            // Either still in, or its removal got to the disk without a word of it.
            let out = circles.values().next().is_some_and(|c| a.read().circles[&c.id].set.is_out(&id(2)));
            assert!(member.is_some() || out, "admitted and forgotten; cut at {at}");
        }
        // And it goes on from there.
        a.found("work").await.unwrap();
    }
    let each = founded > 5 && admitted > 0 && removed > 0 && founded < CUTS;
    assert!(each, "cuts after each of them: {founded} {admitted} {removed} of {CUTS}");
}
