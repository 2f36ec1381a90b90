//! Letting clients in, and the requests to cancel their queries.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::{ClientInfo, PgWireConnectionState, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::startup::{Authentication, SecretKey};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{Sink, SinkExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::server::listen::Guard;

/// Running connections by process number and secret, so that a cancel request, which comes on a connection of its own, finds its query.
#[derive(Default)]
pub(super) struct Cancels {
    by_key: Mutex<HashMap<i32, (SecretKey, watch::Sender<u64>)>>,
}

/// A connection's entry in [`Cancels`]; taken out when the connection ends.
pub(super) struct Cancellable {
    pid: i32,
    cancels: Arc<Cancels>,
    /// Changes when the running query is to end.
    pub(super) cancelled: watch::Receiver<u64>,
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.cancels.by_key.lock().remove(&self.pid);
    }
}

#[async_trait]
impl CancelHandler for Cancels {
    async fn on_cancel_request(&self, request: CancelRequest) {
        if let Some((secret, cancel)) = self.by_key.lock().get(&request.pid)
            && secret.eq_value(&request.secret_key)
        {
            cancel.send_modify(|times| *times += 1);
        }
    }
}

/// Lets clients in: at once, or after they have given the token as password.
pub(super) struct Startup {
    pub(super) guard: Guard,
    pub(super) pids: Arc<RandomPidSecretKeyGenerator>,
    pub(super) cancels: Arc<Cancels>,
}

impl Startup {
    async fn admit<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (pid, secret) = self.pids.generate(client);
        client.set_pid_and_secret_key(pid, secret.clone());
        let (cancel, cancelled) = watch::channel(0);
        self.cancels.by_key.lock().insert(pid, (secret, cancel));
        client.session_extensions().insert(Cancellable { pid, cancels: self.cancels.clone(), cancelled });
        let mut parameters = DefaultServerParameterProvider::default();
        // Clients choose their catalog queries by this version; 15 is what the catalog answers best.
        parameters.server_version = concat!("15.0 (Eagre ", env!("CARGO_PKG_VERSION"), ")").to_owned();
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        finish_authentication(client, &parameters).await
    }
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if !self.guard.wants_token() {
                    return self.admit(client).await;
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                client.send(PgWireBackendMessage::Authentication(Authentication::CleartextPassword)).await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let password = password.into_password()?;
                if self.guard.admits(Some(&password.password)) {
                    return self.admit(client).await;
                }
                let mut error =
                    ErrorInfo::new("FATAL".into(), "28P01".into(), "wrong password: this door takes the token as password".into());
                error.hint = Some("set PGPASSWORD to the token".into());
                Err(PgWireError::UserError(Box::new(error)))
            }
            _ => Ok(()),
        }
    }
}
