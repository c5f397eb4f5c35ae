//! What owners do with a circle, by the commands of the program: several nodes on this machine's loopback.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers of tests; the real world, from outside

mod support;

use std::time::{Duration, Instant, SystemTime};

use softbus_cli::control::{CircleView, MemberView};
use softbus_core::DeviceId;
use softbus_trust::Role;
use support::{How, Node, PATIENCE, home, softbus};

const DAY_MS: u64 = 86_400_000;

/// A command that must work; what it says.
fn works(node: &Node, args: &[&str]) -> String {
    let output = softbus(node, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}\n{}", node.log());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that must be refused; what it says.
fn fails(node: &Node, args: &[&str]) -> String {
    let output = softbus(node, args);
    assert_ne!(output.status.code(), Some(0), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a node's only circle is as wanted.
async fn until(node: &Node, what: &str, so: impl Fn(&CircleView) -> bool) -> CircleView {
    let start = Instant::now();
    loop {
        let circles = node.circles().await;
        if let [circle] = &circles[..]
            && so(circle)
        {
            return circle.clone();
        }
        assert!(start.elapsed() < PATIENCE, "{}: not {what}: {circles:#?}\n{}", node.name, node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn member(circle: &CircleView, device: DeviceId) -> Option<&MemberView> {
    circle.members.iter().find(|m| m.device == device)
}

/// Whether a membership ends in about so many days.
fn ends_in(member: &MemberView, days: u64) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let end = member.expires_ms.unwrap_or(u64::MAX);
    end > now + (days - 1) * DAY_MS && end <= now + days * DAY_MS
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_ends_and_places_change_and_an_orphaned_circle_is_taken_back() {
    let home = home();
    let name = |name: &str| format!("{name}-c{}", std::process::id());
    let owner = Node::start(home.path(), &name("owner"), How::loopback()).await;
    let heir = Node::start(home.path(), &name("heir"), How::loopback()).await;
    let visitor = Node::start(home.path(), &name("visitor"), How::loopback()).await;
    let spare = Node::start(home.path(), &name("spare"), How::loopback()).await;
    let words = owner.found().await;
    for node in [&heir, &visitor] {
        owner.admit(node).await;
        owner.until_online(node).await;
    }
    let of_visitor = visitor.id.to_string();

    // A guest for some days, with one service; others hear of it. A member may not decide that.
    let guest = ["circle", "set-role", &of_visitor, "guest", "--service", "camera/1", "--expires", "2d"];
    fails(&heir, &guest);
    works(&owner, &guest);
    for node in [&owner, &heir, &visitor] {
        until(node, "aware of the guest", |circle| {
            member(circle, visitor.id)
                .is_some_and(|m| m.role == Role::Guest && m.services == ["camera/1"] && ends_in(m, 2))
        })
        .await;
    }
    fails(&owner, &["circle", "set-role", &of_visitor, "guest", "--expires", "2h"]);

    works(&owner, &["circle", "renew", &of_visitor, "--expires", "5d"]);
    until(&heir, "aware of the new end", |circle| {
        member(circle, visitor.id).is_some_and(|m| m.role == Role::Guest && ends_in(m, 5))
    })
    .await;

    // Another role leaves the end as it is.
    works(&owner, &["circle", "set-role", &of_visitor, "owner"]);
    let is_owner = |m: &MemberView| m.role == Role::Owner && ends_in(m, 5);
    until(&heir, "aware of the owner", |circle| member(circle, visitor.id).is_some_and(is_owner)).await;
    works(&owner, &["circle", "set-role", &of_visitor, "guest", "--service", "camera/1"]);
    until(&heir, "aware of the guest again", |circle| {
        member(circle, visitor.id)
            .is_some_and(|m| m.role == Role::Guest && m.services == ["camera/1"] && ends_in(m, 5))
    })
    .await;

    // The spare device takes the visitor's place, with what it had.
    let place = ["circle", "replace", &of_visitor, &spare.id.to_string()];
    fails(&owner, &[&place[..], &["--expires", "2h"]].concat());
    let told = works(&owner, &place);
    assert!(told.contains("softbus pair"), "it must be paired yet: {told}");
    until(&heir, "aware of the replacement", |circle| {
        member(circle, visitor.id).is_none()
            && member(circle, spare.id)
                .is_some_and(|m| m.role == Role::Guest && m.services == ["camera/1"] && ends_in(m, 5))
    })
    .await;

    // The lost one is out; the spare is in as soon as it is paired.
    for node in [&owner, &heir] {
        node.until_offline(&visitor).await;
    }
    assert!(spare.circles().await.is_empty());
    // Those who have it in the circle already do not see it as a stranger: the PIN is entered on it.
    let (mut shown, pin) = owner.show_pin().await;
    spare.until_nearby(&owner).await;
    spare.enter(&owner, &owner.id.to_string(), &pin, &mut shown).await;
    until(&spare, "in the circle", |circle| member(circle, visitor.id).is_none()).await;
    for node in [&owner, &heir] {
        node.until_online(&spare).await;
    }

    // The last owner does not go by accident, at once or in a year, and is told what to do instead.
    let of_owner = owner.id.to_string();
    let forced = "softbus circle leave --force";
    let told = fails(&owner, &["circle", "leave"]);
    assert!(told.contains("set-role DEVICE owner") && told.contains(forced), "{told}");
    for act in [&["renew", &of_owner][..], &["set-role", &of_owner, "member"]] {
        let told = fails(&owner, &[&["circle"], act].concat());
        assert!(told.contains("set-role DEVICE owner") && !told.contains(forced), "{told}");
    }
    works(&owner, &["circle", "leave", "--force"]);
    assert!(owner.circles().await.is_empty());
    let orphan = until(&heir, "orphaned", |circle| circle.orphaned).await;
    assert!(member(&orphan, owner.id).is_none(), "{orphan:#?}");
    fails(&heir, &["circle", "renew", &spare.id.to_string(), "--expires", "9d"]);

    let file = home.path().join("words.txt");
    std::fs::write(&file, "these are other words than those\n").unwrap();
    let recover = ["circle", "recover", "--words-file", file.to_str().unwrap()];
    fails(&heir, &recover);
    assert!(until(&heir, "still there", |_| true).await.orphaned);
    std::fs::write(&file, format!("{words}\n")).unwrap();
    works(&heir, &recover);
    let ours = until(&heir, "taken back", |circle| !circle.orphaned).await;
    assert_eq!((ours.id, ours.role), (orphan.id, Some(Role::Owner)), "{ours:#?}");
    works(&heir, &["circle", "renew", &spare.id.to_string(), "--expires", "9d"]);
    until(&heir, "in order", |circle| member(circle, spare.id).is_some_and(|m| ends_in(m, 9))).await;
}
