//! Connections to the database.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{ACQUIRE_TIMEOUT, LOCK_TIMEOUT, PostgresConfig, PostgresError, STATEMENT_TIMEOUT};

/// Unanswered packets end a connection after this, so that a host that vanished is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(15);

impl PostgresConfig {
    /// Checks a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(url: &str) -> Result<(), PostgresError> {
        parse(url).map(drop)
    }

    /// Where the database is, without the password.
    #[must_use]
    pub fn place(&self) -> String {
        let Ok(config) = parse(&self.url) else { return "?".to_owned() };
        let host = config.get_hosts().first().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let host = host.unwrap_or_default();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        format!("{} at {host}:{port}", config.get_dbname().unwrap_or_default())
    }
}

pub(super) fn parse(url: &str) -> Result<Config, PostgresError> {
    let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    if !is_url {
        return Err(PostgresError::Url("it begins with `postgres://`".to_owned()));
    }
    // What the parser says repeats parts of the URL, in which a password may stand.
    let mut config: Config =
        url.parse().map_err(|_| PostgresError::Url("it cannot be read".to_owned()))?;
    for (missing, what) in [
        (config.get_hosts().is_empty(), "a host"),
        (config.get_user().is_none(), "a user"),
        (config.get_dbname().is_none(), "a database"),
    ] {
        if missing {
            return Err(PostgresError::Url(format!("it names no {}", &what[2..])));
        }
    }
    // Unsaid, a server or whoever stands between could decline to encrypt, and nobody would hear of it.
    let is_near = config.get_hosts().iter().all(is_near)
        && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    if !is_near && !says_ssl_mode(url) {
        config.ssl_mode(SslMode::Require);
    }
    Ok(config)
}

/// Whether a URL that the parser took has the parameter: what stands before the first `@` is user and password.
fn says_ssl_mode(url: &str) -> bool {
    let behind = url.split_once('@').map_or(url, |(_, behind)| behind);
    let (_, parameters) = behind.split_once('?').unwrap_or_default();
    parameters.split('&').any(|parameter| parameter.starts_with("sslmode="))
}

/// Whether what is sent to it stays on this machine.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

pub(super) fn pool(config: &PostgresConfig) -> Result<Pool, PostgresError> {
    let mut database = parse(&config.url)?;
    if let Some(password) = &config.password {
        database.password(password);
    }
    database
        .application_name("aop")
        .connect_timeout(ACQUIRE_TIMEOUT)
        .tcp_user_timeout(SILENCE_MAX)
        .keepalives_idle(SILENCE_MAX)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    let unusable = |reason: String| PostgresError::Unusable { place: config.place(), reason };
    let tls = if database.get_ssl_mode() == SslMode::Disable {
        None
    } else {
        Some(tls().map_err(unusable)?)
    };
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match tls {
        Some(tls) => Manager::from_config(database, tls, recycling),
        None => Manager::from_config(database, tokio_postgres::NoTls, recycling),
    };
    Pool::builder(manager)
        .max_size(config.connections_max)
        .wait_timeout(Some(ACQUIRE_TIMEOUT))
        .create_timeout(Some(ACQUIRE_TIMEOUT))
        .recycle_timeout(Some(ACQUIRE_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .post_create(Hook::async_fn(|connection, _| {
            Box::pin(async move {
                let limits = format!(
                    "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
                    STATEMENT_TIMEOUT.as_millis(),
                    LOCK_TIMEOUT.as_millis(),
                    SILENCE_MAX.as_millis(),
                );
                connection.batch_execute(&limits).await.map_err(HookError::Backend)
            })
        }))
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// The certificates that the system trusts; who the database is, is checked whenever TLS is used.
fn tls() -> Result<MakeRustlsConnect, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
