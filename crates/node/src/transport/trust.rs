//! How nodes know each other: by a secret, when one command has started them all on one machine, or by
//! certificates of their cluster, when they are machines.
//!
//! With certificates both sides show theirs (TLS 1.3), the one that dials checks that the other is the very
//! member it wants, since an address may have a new tenant, and the one that accepts learns which member it
//! is that dials. Not here: how certificates are made, and which members there are (`crate::cluster`).

use super::connection::Connection;
use super::tls::Tls;
use banyan_wire::cluster::{ClusterId, MemberId};
use banyan_wire::control::Place;
use parking_lot::RwLock;
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme, version,
};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A peer that has not proved who it is within this time is none.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How the nodes that a node speaks to are known.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// By a secret in their greeting.
    Secret([u8; 16]),
    /// By their certificates.
    Certificates(Arc<Credentials>),
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Its greeting will show whether it knows the secret.
    Unproved,
    /// It has shown no certificate.
    Stranger,
    /// A machine with a certificate of the cluster's.
    Member(MemberId),
    /// The same, and the certificate is over; it may ask for another.
    Expired(MemberId),
}

impl Caller {
    /// Which machine it has proved to be, with a certificate that is good.
    pub(crate) fn member(self) -> Option<MemberId> {
        match self {
            Self::Member(member) => Some(member),
            Self::Unproved | Self::Stranger | Self::Expired(_) => None,
        }
    }
}

/// What a member shows of itself, and what it asks of others.
#[derive(Debug)]
pub(crate) struct Credentials {
    cluster: ClusterId,
    configurations: RwLock<(Arc<ClientConfig>, Arc<ServerConfig>)>,
}

/// The name in the certificate of a member.
pub(crate) fn member_name(cluster: ClusterId, member: MemberId) -> String {
    format!("{member}.{}", cluster_name(cluster))
}

/// A name in the certificates of all members.
pub(crate) fn cluster_name(cluster: ClusterId) -> String {
    format!("{cluster}.banyan")
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(digest(&SHA256, bytes).as_ref());
    result
}

/// The member that a public key (`SubjectPublicKeyInfo`, DER) makes.
pub(crate) fn member_of_key(key: &[u8]) -> MemberId {
    let digest = sha256(key);
    MemberId(std::array::from_fn(|at| digest[at]))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

impl Credentials {
    /// Of the member that has this key (PKCS #8, DER) and this certificate, signed by the authority.
    ///
    /// # Errors
    /// If they do not belong together.
    pub(crate) fn new(
        cluster: ClusterId,
        key: &[u8],
        certificate: &CertificateDer<'static>,
        authority: &CertificateDer<'static>,
    ) -> io::Result<Self> {
        let configurations = configurations(key, certificate, authority).map_err(other)?;
        Ok(Self { cluster, configurations: RwLock::new(configurations) })
    }

    /// Goes on with a new certificate for the same key.
    ///
    /// # Errors
    /// As [`Credentials::new`].
    pub(crate) fn renew(
        &self,
        key: &[u8],
        certificate: &CertificateDer<'static>,
        authority: &CertificateDer<'static>,
    ) -> io::Result<()> {
        *self.configurations.write() = configurations(key, certificate, authority).map_err(other)?;
        Ok(())
    }
}

fn configurations(
    key: &[u8],
    certificate: &CertificateDer<'static>,
    authority: &CertificateDer<'static>,
) -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), Error> {
    let roots = roots(authority)?;
    let chain = vec![certificate.clone(), authority.clone()];
    let key = || PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Members { servers }))
        .with_client_auth_cert(chain.clone(), key())?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(Callers(clients)))
        .with_single_cert(chain, key())?;
    // Nothing is ever resumed.
    server.send_tls13_tickets = 0;
    Ok((Arc::new(client), Arc::new(server)))
}

impl Trust {
    /// What the greeting carries. Certificates have proved more than a secret could.
    pub(crate) fn greeting_secret(&self) -> [u8; 16] {
        match self {
            Self::Secret(secret) => *secret,
            Self::Certificates(_) => [0; 16],
        }
    }

    /// Whether what is said is inside TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Certificates(_))
    }

    /// Connects to a node, and knows that it is that one, each within a time.
    ///
    /// # Errors
    /// The system's; `InvalidData` if who listens there is not the node.
    pub(crate) fn dial(&self, place: &Place, timeout: Duration) -> io::Result<Connection> {
        let connection = Connection::dial(place.address, timeout)?;
        match (self, place.member) {
            (Self::Secret(_), _) => Ok(connection),
            (Self::Certificates(credentials), Some(member)) => {
                let name = member_name(credentials.cluster, member);
                let configuration = Arc::clone(&credentials.configurations.read().0);
                shake_hands(connection, configuration, name, timeout.min(HANDSHAKE_TIMEOUT))
            }
            (Self::Certificates(_), None) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a node of a cluster without its identity"))
            }
        }
    }

    /// Lets a connection in that was accepted, and says who made it.
    ///
    /// # Errors
    /// The system's; `InvalidData` if its certificate is not the cluster's.
    pub(crate) fn admit(&self, connection: Connection) -> io::Result<(Connection, Caller)> {
        let Self::Certificates(credentials) = self else { return Ok((connection, Caller::Unproved)) };
        let configuration = Arc::clone(&credentials.configurations.read().1);
        let session = ServerConnection::new(configuration).map_err(other)?;
        let tls = Tls::new(connection.into_tcp()?, session.into(), HANDSHAKE_TIMEOUT)?;
        let caller = match tls.peer_certificate() {
            None => Caller::Stranger,
            Some(certificate) => {
                let certificate = parse(&certificate)?;
                let member = member_of_key(certificate.tbs_certificate.subject_pki.raw);
                let end = certificate.validity().not_after.timestamp();
                if end < UnixTime::now().as_secs() as i64 {
                    Caller::Expired(member)
                } else {
                    Caller::Member(member)
                }
            }
        };
        Ok((Connection::Tls(tls), caller))
    }
}

/// Connects to a machine that is to be a member of a cluster, and knows nothing of it but the digest of its
/// authority's public key. Gives the authority's certificate too.
///
/// # Errors
/// The system's; `InvalidData` if who listens there is not of the cluster.
pub(crate) fn dial_as_stranger(
    address: SocketAddr,
    cluster: ClusterId,
    authority: [u8; 32],
) -> io::Result<(Connection, CertificateDer<'static>)> {
    let found = Arc::new(parking_lot::Mutex::new(None));
    let verifier = Arc::new(ByDigest { authority, found: Arc::clone(&found) });
    let configuration = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let connection = Connection::dial(address, HANDSHAKE_TIMEOUT)?;
    let connection =
        shake_hands(connection, Arc::new(configuration), cluster_name(cluster), HANDSHAKE_TIMEOUT)?;
    let authority = found.lock().take().ok_or(io::ErrorKind::InvalidData)?;
    Ok((connection, authority))
}

fn shake_hands(
    connection: Connection,
    configuration: Arc<ClientConfig>,
    name: String,
    timeout: Duration,
) -> io::Result<Connection> {
    let name = ServerName::try_from(name).map_err(other)?;
    let session = ClientConnection::new(configuration, name).map_err(other)?;
    let tls = Tls::new(connection.into_tcp()?, session.into(), timeout)?;
    Ok(Connection::Tls(tls))
}

/// Reads a certificate.
///
/// # Errors
/// `InvalidData`.
pub(crate) fn parse(certificate: &[u8]) -> io::Result<X509Certificate<'_>> {
    let parsed = X509Certificate::from_der(certificate);
    parsed.map(|(_, certificate)| certificate).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The beginning and the end of a certificate's time.
fn times(certificate: &CertificateDer<'_>) -> Result<(UnixTime, UnixTime), Error> {
    let parsed = parse(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let time = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.max(0) as u64));
    let validity = parsed.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

fn is_early(error: &Error) -> bool {
    let Error::InvalidCertificate(error) = error else { return false };
    matches!(error, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
}

fn is_late(error: &Error) -> bool {
    let Error::InvalidCertificate(error) = error else { return false };
    matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. })
}

/// The part of a verifier that is about signatures and not about certificates: the library's.
macro_rules! signatures_of_the_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = provider().signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Checks members that are dialled. A clock that is behind is no reason to refuse one: certificates that are
/// not valid yet are taken.
#[derive(Debug)]
struct Members {
    servers: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Members {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.servers.verify_server_cert(certificate, between, name, ocsp, now) {
            Err(error) if is_early(&error) => {
                let (start, _) = times(certificate)?;
                self.servers.verify_server_cert(certificate, between, name, ocsp, start)
            }
            verified => verified,
        }
    }

    signatures_of_the_provider!();
}

/// Checks a machine of a cluster of which only the digest of the authority's key is known.
#[derive(Debug)]
struct ByDigest {
    authority: [u8; 32],
    found: Arc<parking_lot::Mutex<Option<CertificateDer<'static>>>>,
}

impl ServerCertVerifier for ByDigest {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_authority = |shown: &&CertificateDer<'_>| {
            parse(shown).is_ok_and(|shown| sha256(shown.tbs_certificate.subject_pki.raw) == self.authority)
        };
        let authority = between.iter().find(is_authority);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let authority = authority.clone().into_owned();
        let servers = WebPkiServerVerifier::builder_with_provider(roots(&authority)?, provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified = Members { servers }.verify_server_cert(certificate, &[], name, ocsp, now)?;
        *self.found.lock() = Some(authority);
        Ok(verified)
    }

    signatures_of_the_provider!();
}

/// Checks who has connected. A certificate that is over is taken here and known as such later: a machine that
/// was switched off for long must be able to ask for another.
#[derive(Debug)]
struct Callers(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.0.verify_client_cert(certificate, between, now) {
            Err(error) if is_early(&error) || is_late(&error) => {
                let (start, end) = times(certificate)?;
                let within = if is_early(&error) { start } else { end };
                self.0.verify_client_cert(certificate, between, within)
            }
            verified => verified,
        }
    }

    signatures_of_the_provider!();
}
