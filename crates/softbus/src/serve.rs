//! Services as closures.

use std::future::Future;
use std::sync::Arc;

use softbus_core::ErrorCode;
use softbus_net::seam::BoxFuture;
use softbus_net::{Caller, Channel, Respond, Service};

/// An async closure that answers requests.
struct Answer<F>(Arc<F>);

impl<F, Fut> Respond for Answer<F>
where
    F: Fn(Caller, Vec<u8>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<u8>, ErrorCode>> + Send + 'static,
{
    fn respond(&self, from: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>> {
        Box::pin((self.0)(from, request))
    }
}

/// An async closure that serves channels.
struct Accept<F>(Arc<F>);

impl<F, Fut> Service for Accept<F>
where
    F: Fn(Channel) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn accept(&self, channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin((self.0)(channel))
    }
}

pub(crate) fn answer<F, Fut>(f: F) -> Arc<dyn Respond>
where
    F: Fn(Caller, Vec<u8>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<u8>, ErrorCode>> + Send + 'static,
{
    Arc::new(Answer(Arc::new(f)))
}

pub(crate) fn accept<F, Fut>(f: F) -> Arc<dyn Service>
where
    F: Fn(Channel) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(Accept(Arc::new(f)))
}
