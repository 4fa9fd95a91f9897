//! Keys and certificates of a cluster: its authority signs those of the members.
//!
//! A member is its key: the certificate says no more than that the authority knows the key, and for how long.
//! Not here: who is let in (`membership`), where files lie (`state`), and what TLS makes of it
//! (`transport::trust`).

use crate::transport::trust::{self, cluster_name, member_name, member_of_key};
use banyan_wire::cluster::{ClusterId, MemberId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use std::io;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a member's certificate is good.
const MEMBER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long the authority's is.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

fn other(error: rcgen::Error) -> io::Error {
    io::Error::other(error)
}

/// The key pair of a machine.
#[derive(Debug)]
pub(crate) struct MachineKey(KeyPair);

impl MachineKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn generate() -> io::Result<Self> {
        KeyPair::generate().map(Self).map_err(other)
    }

    /// One that was kept.
    ///
    /// # Errors
    /// If the text is no key.
    pub(crate) fn from_pem(text: &str) -> io::Result<Self> {
        KeyPair::from_pem(text).map(Self).map_err(other)
    }

    /// As it is kept.
    pub(crate) fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// PKCS #8, DER.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// The member that has this key.
    pub(crate) fn member(&self) -> MemberId {
        member_of_key(&self.0.subject_public_key_info())
    }

    /// A request for a certificate, signed with the key: who sends it has the key.
    ///
    /// # Errors
    /// Of the library.
    pub(crate) fn request(&self) -> io::Result<Vec<u8>> {
        let request = CertificateParams::default().serialize_request(&self.0).map_err(other)?;
        Ok(request.der().to_vec())
    }
}

/// What signs the certificates of a cluster.
#[derive(Debug)]
pub(crate) struct Authority {
    cluster: ClusterId,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// A new one, for a new cluster.
    ///
    /// # Errors
    /// Of the library, or if the system has no random numbers.
    pub(crate) fn create(cluster: ClusterId) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(other)?;
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let name = format!("Banyan cluster {cluster}");
        parameters.distinguished_name.push(DnType::CommonName, name);
        let now = SystemTime::now();
        parameters.not_before = (now - DAY).into();
        parameters.not_after = (now + AUTHORITY_LIFE).into();
        let certificate = parameters.self_signed(&key).map_err(other)?.der().clone();
        Ok(Self { cluster, issuer: Issuer::new(parameters, key), certificate })
    }

    /// One that was kept: its key, and its certificate.
    ///
    /// # Errors
    /// If the text is no key.
    pub(crate) fn from_pem(
        cluster: ClusterId,
        key: &str,
        certificate: CertificateDer<'static>,
    ) -> io::Result<Self> {
        let key = KeyPair::from_pem(key).map_err(other)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(other)?;
        Ok(Self { cluster, issuer, certificate })
    }

    /// Whether its key is the one of its certificate.
    pub(crate) fn fits(&self) -> bool {
        let key = trust::sha256(&self.issuer.key().subject_public_key_info());
        key_digest(&self.certificate).is_ok_and(|digest| digest == key)
    }

    /// Its key as it is kept.
    pub(crate) fn key_to_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What a request asks for: a certificate for the key that has signed it. Whatever else it asks for is
    /// not granted.
    ///
    /// # Errors
    /// If the request is none, or is not signed with its key.
    pub(crate) fn sign(&self, request: &[u8]) -> io::Result<(MemberId, CertificateDer<'static>)> {
        let now = SystemTime::now();
        // From a day before, for machines whose clocks are behind.
        self.sign_for(request, now - DAY, now + MEMBER_LIFE)
    }

    /// As [`Authority::sign`], good from `start` to `end`.
    pub(super) fn sign_for(
        &self,
        request: &[u8],
        start: SystemTime,
        end: SystemTime,
    ) -> io::Result<(MemberId, CertificateDer<'static>)> {
        let request = CertificateSigningRequestParams::from_der(&request.into()).map_err(other)?;
        let member = member_of_key(&request.public_key.subject_public_key_info());
        let names = vec![member_name(self.cluster, member), cluster_name(self.cluster)];
        let mut parameters = CertificateParams::new(names).map_err(other)?;
        parameters.distinguished_name.push(DnType::CommonName, member.to_string());
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_before = start.into();
        parameters.not_after = end.into();
        let certificate = parameters.signed_by(&request.public_key, &self.issuer).map_err(other)?;
        Ok((member, certificate.der().clone()))
    }
}

/// SHA-256 of the public key in a certificate: by it a joining machine knows the authority.
///
/// # Errors
/// If that is no certificate.
pub(crate) fn key_digest(certificate: &CertificateDer<'_>) -> io::Result<[u8; 32]> {
    Ok(trust::sha256(trust::parse(certificate)?.tbs_certificate.subject_pki.raw))
}

/// When a certificate is over, in seconds since 1970.
pub(crate) fn expires(certificate: &CertificateDer<'_>) -> Option<i64> {
    Some(trust::parse(certificate).ok()?.validity().not_after.timestamp())
}

/// Whether a certificate is to be made anew: two thirds of its time have passed.
pub(crate) fn is_due(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = trust::parse(certificate) else { return true };
    let left = certificate.validity().not_after.timestamp();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    left.saturating_sub(now.as_secs() as i64) < (MEMBER_LIFE / 3).as_secs() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 10]);

    #[test]
    fn the_authority_signs_keys_that_sign_their_request_and_nothing_else() {
        let authority = Authority::create(CLUSTER).unwrap();
        let key = MachineKey::generate().unwrap();
        let request = key.request().unwrap();
        let (member, certificate) = authority.sign(&request).unwrap();
        assert_eq!(member, key.member());
        let parsed = trust::parse(&certificate).unwrap();
        assert!(!parsed.is_ca() && !is_due(&certificate));
        // The signature is at the end, the key somewhere in the middle.
        for at in [request.len() - 1, request.len() / 2] {
            let mut damaged = request.clone();
            damaged[at] ^= 1;
            assert!(authority.sign(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_was_kept_is_the_same_authority_and_the_same_machine() {
        let authority = Authority::create(CLUSTER).unwrap();
        let kept =
            Authority::from_pem(CLUSTER, &authority.key_to_pem(), authority.certificate().clone()).unwrap();
        assert_eq!(key_digest(kept.certificate()).unwrap(), key_digest(authority.certificate()).unwrap());
        let key = MachineKey::generate().unwrap();
        assert_eq!(MachineKey::from_pem(&key.to_pem()).unwrap().member(), key.member());
    }
}
