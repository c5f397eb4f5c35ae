//! From the bus's errors to failures: which exit code, and what a person can do next.

use softbus::Error;
use softbus::net::membership::MembershipError;
use softbus::net::{NetError, RequestError};
use softbus::roster::RosterError;
use softbus::task::TaskError;
use softbus::trust::KeyError;

use crate::failure::{Failure, Kind, kind_of};

/// What an error of the bus means at the command line.
pub(in crate::node) fn bus_failure(error: Error) -> Failure {
    let text = error.to_string();
    let failure = |kind| Failure::new(kind, text.clone());
    match &error {
        Error::Config(_) | Error::Service(_) => failure(Kind::Usage),
        Error::Storage(e) => storage(e, text),
        Error::Store(_) => {
            failure(Kind::Failed).advise("`softbus doctor` looks at the data folder and its disk")
        }
        Error::Key(e) => match e {
            KeyError::Version { .. } => failure(Kind::Conflict),
            _ => failure(Kind::Failed)
                .advise("restore the key from its backup: softbus key restore FILE --force"),
        },
        Error::KeyLost => failure(Kind::Conflict).advise(
            "put the key back: softbus key restore FILE; without a backup, move the data folder away and begin as a new device",
        ),
        Error::Net(e) => net(e, text),
        Error::Request(RequestError::Net(e)) => net(e, text),
        Error::Request(RequestError::Code(code)) => failure(kind_of(*code)),
        Error::Request(RequestError::Timeout) => failure(Kind::Timeout),
        Error::Request(_) => failure(Kind::Failed),
        Error::Membership(e) => membership(e, text),
        Error::Roster(RosterError::Unknown(_)) => failure(Kind::NotFound),
        Error::Roster(_) => failure(Kind::Failed),
        Error::Task(e) => task(e, text),
        Error::NotNearby(_) => failure(Kind::Unreachable),
        #[allow(unreachable_patterns)] // the face's errors may grow
        _ => failure(Kind::Failed),
    }
}

fn storage(e: &std::io::Error, text: String) -> Failure {
    use std::io::ErrorKind;
    match e.kind() {
        ErrorKind::ResourceBusy | ErrorKind::WouldBlock => Failure::conflict(text)
            .advise("stop the other node with `softbus down`, or use another folder: --data-dir DIR"),
        ErrorKind::PermissionDenied => {
            Failure::new(Kind::Refused, text).advise("`softbus doctor` says what to change")
        }
        ErrorKind::StorageFull => Failure::failed(text).advise("free some disk space and try again"),
        _ => Failure::failed(text),
    }
}

fn net(e: &NetError, text: String) -> Failure {
    match e {
        NetError::Bind { .. } => {
            Failure::conflict(text).advise("`softbus doctor` says who has the port; --port 0 takes any")
        }
        NetError::Unreachable(_) | NetError::Dial { .. } => Failure::new(Kind::Unreachable, text)
            .advise("is the other device on, does softbus run there, and is it on this network? `softbus doctor` looks"),
        NetError::Refused(code) | NetError::Service { code, .. } => Failure::new(kind_of(*code), text),
        _ => Failure::failed(text),
    }
}

fn membership(e: &MembershipError, text: String) -> Failure {
    let failure = |kind| Failure::new(kind, text.clone());
    match e {
        MembershipError::WrongPin { .. } => {
            failure(Kind::Refused).advise("read the PIN again on the other device, and enter it anew")
        }
        MembershipError::NotOpen => {
            failure(Kind::Refused).advise("on the other device: softbus pair (it shows a PIN for 60 seconds)")
        }
        MembershipError::Frozen { .. }
        | MembershipError::ThirdDevice
        | MembershipError::NotProven
        | MembershipError::NotOwner
        | MembershipError::NobodyAdmits
        | MembershipError::Cancelled
        | MembershipError::RecoveryWords(_) => failure(Kind::Refused),
        MembershipError::Expired | MembershipError::Timeout => failure(Kind::Timeout),
        MembershipError::NoCircle(_) | MembershipError::NotMember(_) => failure(Kind::NotFound),
        MembershipError::WhichCircle(_) => {
            failure(Kind::Usage).advise("say which, by its name: `softbus circle` lists them")
        }
        MembershipError::NoCircleYet => failure(Kind::Conflict)
            .advise("softbus circle found NAME, or softbus pair with a device that is in one"),
        MembershipError::BadGrant(_)
        | MembershipError::Ticket(_)
        | MembershipError::Pin(_)
        | MembershipError::Access(_) => failure(Kind::Usage),
        MembershipError::LastOwner => failure(Kind::Conflict).advise(
            "softbus circle set-role DEVICE owner --expires never; or, if it is an owner whose time ends: \
                 softbus circle renew DEVICE --expires never",
        ),
        MembershipError::AlreadyMember | MembershipError::AlreadyInCircle | MembershipError::PeerInCircle => {
            failure(Kind::Conflict)
        }
        MembershipError::Alone { .. } => {
            failure(Kind::Failed).advise("the words are shown above: write them down, then pair again")
        }
        MembershipError::Refused(code) => failure(kind_of(*code)),
        MembershipError::Net(e) => net(e, text),
        _ => failure(Kind::Failed),
    }
}

fn task(e: &TaskError, text: String) -> Failure {
    let failure = |kind| Failure::new(kind, text.clone());
    match e {
        TaskError::UnknownType(_) => {
            failure(Kind::NotFound).advise("`softbus status` lists the task types of this node")
        }
        TaskError::NoSuchTask(_) => failure(Kind::NotFound).advise("`softbus tasks` lists those known here"),
        TaskError::BadSubmission(_) | TaskError::Codec { .. } => failure(Kind::Usage),
        // What it says begins with that.
        TaskError::NoPlace(why) => Failure::new(Kind::Conflict, why.trim_end())
            .advise("the explanation says why each device cannot; `softbus devices --long`"),
        TaskError::Refused { code, .. } => failure(kind_of(*code)),
        TaskError::Unreachable(_) => {
            failure(Kind::Unreachable).advise("`softbus devices` shows who is there")
        }
        TaskError::Forbidden(_) => failure(Kind::Refused),
        TaskError::NotYet(_) => failure(Kind::Timeout).advise("`softbus tasks` shows how it goes on"),
        TaskError::NoResult { .. } => failure(Kind::Conflict).advise("`softbus tasks` shows how it stands"),
        TaskError::Conflict(_) | TaskError::Limit(_) => failure(Kind::Conflict),
        TaskError::Storage(_) => failure(Kind::Failed).advise("`softbus doctor` looks at the disk"),
        _ => failure(Kind::Failed),
    }
}
