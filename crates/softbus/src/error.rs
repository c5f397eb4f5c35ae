use softbus_core::{DeviceId, ServiceNameError};

/// Why the bus could not do as asked. Each message says what failed and, where there is something to do, what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The builder was told nonsense.
    #[error("{0}")]
    Config(String),
    /// The data folder: missing rights, a second bus on it, a full disk.
    #[error("data folder: {0}")]
    Storage(#[from] std::io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] softbus_net::seam::store::StoreError),
    /// The device's key.
    #[error(transparent)]
    Key(#[from] softbus_trust::KeyError),
    /// The data folder has a database, but the key of the device whose it is is gone.
    #[error(
        "the device's key (secrets/device.key) is missing, though the data folder has its circles and tasks"
    )]
    KeyLost,
    /// The network.
    #[error(transparent)]
    Net(#[from] softbus_net::NetError),
    /// A request that got no answer.
    #[error(transparent)]
    Request(#[from] softbus_net::RequestError),
    /// Circles and pairing.
    #[error(transparent)]
    Membership(#[from] softbus_net::membership::MembershipError),
    /// The roster.
    #[error(transparent)]
    Roster(#[from] softbus_roster::RosterError),
    /// Tasks.
    #[error(transparent)]
    Task(#[from] softbus_task::TaskError),
    /// A service name that is none.
    #[error(transparent)]
    Service(#[from] ServiceNameError),
    /// Discovery does not see the device, and no address is known.
    #[error(
        "{0} is not to be seen nearby: is its pairing open and is it on the same network? Its address works too"
    )]
    NotNearby(DeviceId),
}
