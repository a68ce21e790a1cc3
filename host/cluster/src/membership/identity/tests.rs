use std::os::unix::fs::PermissionsExt as _;

use rustls::pki_types::pem::PemObject as _;

use super::authority::CERTIFICATE_LIFE;
use super::trust::TrustDocument;
use super::*;

const NOW: u64 = 1_800_000_000;

fn zone() -> ZoneName {
    "eu.acme.example".parse().unwrap()
}

fn directory() -> (tempfile::TempDir, IdentityDirectory) {
    let data = tempfile::tempdir().unwrap();
    let directory = IdentityDirectory::of_data(data.path());
    (data, directory)
}

fn request_of(request: &[u8]) -> Request {
    Request::read(request).unwrap()
}

fn founded(directory: &IdentityDirectory) -> Identity {
    NodeKey::open(directory).unwrap().found(&zone(), NOW).unwrap()
}

fn joined(founder: &Identity, directory: &IdentityDirectory) -> Identity {
    let key = NodeKey::open(directory).unwrap();
    let certificate = founder.authority().sign(&request_of(&key.request().unwrap()), NOW).unwrap();
    key.adopt(founder.authority().certificate().clone(), &[], &certificate, NOW).unwrap()
}

/// What joining answers to a data directory.
fn adopted(founder: &Identity, directory: &IdentityDirectory) -> Result<Identity, MembershipError> {
    let key = NodeKey::open(directory)?;
    let certificate = founder.authority().sign(&request_of(&key.request()?), NOW)?;
    let lineage: Vec<_> =
        founder.trust().borrow().lineage().map(|root| root.certificate.clone()).collect();
    key.adopt(founder.authority().certificate().clone(), &lineage, &certificate, NOW)
}

#[test]
fn a_node_stays_itself_over_restarts_and_its_generation_grows() {
    let (_data, directory) = directory();
    assert!(!directory.has_zone());
    let first = founded(&directory);
    assert!(directory.has_zone());
    let generation = first.next_generation(NOW).unwrap();
    let again = NodeKey::open(&directory).unwrap().resume(NOW).unwrap().ok().unwrap();
    assert_eq!((again.id(), again.zone()), (first.id(), &zone()));
    assert_eq!(again.validity(), first.validity());
    assert!(
        again.next_generation(NOW - 3600).unwrap() > generation,
        "although the clock went back"
    );
}

#[test]
fn certificates_are_short_backdated_and_named_after_the_key() {
    let (_data, directory) = directory();
    let founder = founded(&directory);
    let (begins, ends) = founder.validity();
    assert_eq!((begins, ends), (NOW - 7200, NOW + CERTIFICATE_LIFE.as_secs()));
    let pem = std::fs::read(directory.node_certificate()).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let read = NodeCertificate::read(&certificate).unwrap();
    assert_eq!((&read.node, &read.zone), (founder.id(), &zone()));
}

#[test]
fn keys_are_for_their_owner_only() {
    let (_data, directory) = directory();
    drop(founded(&directory));
    for key in [directory.node_key(), directory.authority_key()] {
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let error = NodeKey::open(&directory).err().unwrap();
    assert!(matches!(error, MembershipError::Exposed(_)), "{error}");
    assert!(matches!(directory.export_authority(), Err(MembershipError::Exposed(_))));
}

#[test]
fn who_joins_gets_the_name_of_its_key_whatever_it_asks_for() {
    let ((_a, founding), (_b, joining)) = (directory(), directory());
    let founder = founded(&founding);
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    let wish = format!("spiffe://{}/node/{}", zone(), founder.id());
    params.subject_alt_names = vec![rcgen::SanType::URI(wish.try_into().unwrap())];
    let request = params.serialize_request(&pair).unwrap().der().to_vec();
    let certificate = founder.authority().sign(&request_of(&request), NOW).unwrap();
    let read = NodeCertificate::read(&certificate).unwrap();
    assert_eq!(read.node, NodeId::of_public_key(&pair.subject_public_key_info()));
    assert_ne!(&read.node, founder.id());

    let member = joined(&founder, &joining);
    assert!(!member.authority().is_held());
    let error = member.authority().sign(&request_of(&request), NOW).unwrap_err();
    assert!(matches!(error, MembershipError::NoAuthority), "{error}");
    // A certificate of somebody else is of no use.
    assert!(member.renew(certificate, founder.authority().certificate()).is_err());
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let (_data, directory) = directory();
    let founder = founded(&directory);
    let mut request = founder.request().unwrap();
    let last = request.len() - 1;
    request[last] ^= 1;
    for bad in [&request[..], &request[..20], b"", b"nonsense"] {
        let error = Request::read(bad).unwrap_err();
        assert!(matches!(error, MembershipError::Refused(_)), "{error}");
    }
}

#[test]
fn the_zones_key_can_be_held_by_several_and_restored_by_none_of_another_zone() {
    let ((data, founding), (_b, joining), (_c, foreign)) = (directory(), directory(), directory());
    let founder = founded(&founding);
    let member = joined(&founder, &joining);
    let backup = data.path().join("zone.pem");
    files::write_private(&backup, founding.export_authority().unwrap().as_bytes()).unwrap();

    assert_eq!(joining.import_authority(&backup).unwrap(), zone());
    assert!(member.authority().is_held(), "a running node uses it at once");
    member.authority().sign(&request_of(&member.request().unwrap()), NOW).unwrap();

    drop(founded(&foreign));
    // It has the same name, and is another one.
    let error = foreign.import_authority(&backup).unwrap_err();
    assert!(matches!(error, MembershipError::OtherAuthority(_)), "{error}");
    let (_e, elsewhere) = directory();
    let other: ZoneName = "us.acme.example".parse().unwrap();
    drop(NodeKey::open(&elsewhere).unwrap().found(&other, NOW).unwrap());
    let error = elsewhere.import_authority(&backup).unwrap_err();
    assert!(matches!(error, MembershipError::OtherZone { .. }), "{error}");

    // When every node is lost, the backup alone founds the zone again.
    let (_d, fresh) = directory();
    fresh.import_authority(&backup).unwrap();
    let restored = NodeKey::open(&fresh).unwrap().resume(NOW).unwrap().ok().unwrap();
    assert_eq!(restored.authority().fingerprint(), founder.authority().fingerprint());

    std::fs::set_permissions(&backup, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(fresh.import_authority(&backup), Err(MembershipError::Exposed(_))));
}

#[test]
fn damaged_files_are_named() {
    let (_data, directory) = directory();
    drop(founded(&directory));
    std::fs::write(directory.node_certificate(), "nonsense").unwrap();
    let error = NodeKey::open(&directory).unwrap().resume(NOW).err().unwrap().to_string();
    assert!(error.contains("node.crt is damaged"), "{error}");
}

const HOUR: Duration = Duration::from_secs(3600);

fn resumed(directory: &IdentityDirectory, now: u64) -> Identity {
    NodeKey::open(directory).unwrap().resume(now).unwrap().ok().unwrap()
}

/// Every file of a directory.
fn copy(of: &IdentityDirectory) -> (tempfile::TempDir, IdentityDirectory) {
    let (data, directory) = directory();
    files::make_directory(&directory.0).unwrap();
    for entry in std::fs::read_dir(&of.0).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.0.join(entry.file_name())).unwrap();
    }
    (data, directory)
}

#[test]
fn a_rotation_that_a_crash_interrupts_happened_or_did_not() {
    let (_data, founding) = directory();
    let founder = founded(&founding);
    let (_b, before) = copy(&founding);
    founder.rotate(NOW, HOUR, false).unwrap();
    let (old, new) = (resumed(&before, NOW).authority(), founder.authority());
    assert_ne!(old.fingerprint(), new.fingerprint());
    let next = |directory: &IdentityDirectory| directory.next_authority_key();
    assert!(!next(&founding).exists());

    // After the new key was written and before it was decided.
    let (_c, undecided) = copy(&before);
    std::fs::copy(founding.authority_key(), next(&undecided)).unwrap();
    let identity = resumed(&undecided, NOW);
    assert_eq!(identity.authority().fingerprint(), old.fingerprint());
    assert!(identity.authority().is_held() && !next(&undecided).exists());

    // After it was decided: with the key still beside its place, and with the old certificate in its.
    let (_d, decided) = copy(&before);
    std::fs::copy(founding.trust_file(), decided.trust_file()).unwrap();
    std::fs::copy(founding.authority_key(), next(&decided)).unwrap();
    for key_is_in_place in [false, true] {
        let (_e, directory) = copy(&decided);
        if key_is_in_place {
            std::fs::rename(next(&directory), directory.authority_key()).unwrap();
        }
        let identity = resumed(&directory, NOW);
        assert_eq!(identity.authority().fingerprint(), new.fingerprint());
        assert!(identity.authority().is_held() && !next(&directory).exists());
        assert!(identity.is_outdated(), "it renews at once");
        // The export is that of the new key, and it alone is taken.
        let (data, other) = copy(&directory);
        let backup = data.path().join("zone.pem");
        files::write_private(&backup, other.export_authority().unwrap().as_bytes()).unwrap();
        assert_eq!(directory.import_authority(&backup).unwrap(), zone());
        let error = before.import_authority(&backup).unwrap_err();
        assert!(matches!(error, MembershipError::OtherAuthority(_)), "{error}");
    }
}

#[test]
fn a_holder_of_the_old_key_signs_no_more_and_the_old_key_ends() {
    let ((data, founding), (_b, joining)) = (directory(), directory());
    let founder = founded(&founding);
    let member = joined(&founder, &joining);
    let backup = data.path().join("zone.pem");
    files::write_private(&backup, founding.export_authority().unwrap().as_bytes()).unwrap();
    joining.import_authority(&backup).unwrap();
    assert!(member.authority().is_held());

    let retires = founder.rotate(NOW, HOUR, false).unwrap();
    assert_eq!(retires, NOW + 3600);
    let said = TrustDocument::read(&founder.trust().borrow().to_bytes()).unwrap();
    member
        .change_trust(|trust| {
            trust.merge(&said, NOW);
            Ok(())
        })
        .unwrap();
    assert_eq!(member.trust().borrow().newest(), founder.trust().borrow().newest());
    assert!(!member.authority().is_held(), "its key is the old one");
    let request = request_of(&member.request().unwrap());
    assert!(matches!(member.authority().sign(&request, NOW), Err(MembershipError::NoAuthority)));
    let leaf = founder.authority().sign(&request, NOW).unwrap();
    assert!(member.is_outdated());
    member.renew(leaf, founder.authority().certificate()).unwrap();
    assert!(!member.is_outdated());

    for (now, count) in [(retires - 1, 2), (retires, 1)] {
        member
            .change_trust(|trust| {
                trust.forget(now);
                Ok(())
            })
            .unwrap();
        assert_eq!(member.trust().borrow().authorities().count(), count);
        assert_eq!(resumed(&joining, now).trust().borrow().authorities().count(), count);
    }
    // What somebody says who has not forgotten it brings it not back.
    member
        .change_trust(|trust| {
            trust.merge(&said, retires);
            Ok(())
        })
        .unwrap();
    assert_eq!(member.trust().borrow().authorities().count(), 1);
    founder
        .change_trust(|trust| {
            trust.forget(retires);
            Ok(())
        })
        .unwrap();
    founder.rotate(retires, HOUR, false).unwrap();
}

#[test]
fn a_key_in_the_wrong_hands_is_replaced_again_and_ends_with_the_shorter_overlap() {
    let ((_a, founding), (_b, joining)) = (directory(), directory());
    let founder = founded(&founding);
    let member = joined(&founder, &joining);
    founder.rotate(NOW, HOUR, false).unwrap();
    let refused = founder.rotate(NOW, HOUR, false).unwrap_err().to_string();
    assert!(refused.contains("3600 s") && refused.contains("--again"), "{refused}");
    let retires = founder.rotate(NOW, Duration::from_secs(60), true).unwrap();
    assert_eq!(retires, NOW + 61);
    assert_eq!(founder.trust().borrow().next_retirement(), Some(retires), "of both before");
    // Whoever heard of neither believes both.
    let said = TrustDocument::read(&founder.trust().borrow().to_bytes()).unwrap();
    member
        .change_trust(|trust| {
            trust.merge(&said, NOW);
            trust.forget(retires);
            Ok(())
        })
        .unwrap();
    assert_eq!(member.trust().borrow().newest(), founder.trust().borrow().newest());
    assert_eq!(member.trust().borrow().authorities().count(), 1);
    // Within bounds, and nothing is left of one that is refused.
    founder.rotate(NOW, HOUR, true).unwrap();
    let refused = founder.rotate(NOW, HOUR, true).unwrap_err().to_string();
    assert!(refused.contains("no more count"), "{refused}");
    assert!(founder.authority().is_held() && !founding.next_authority_key().exists());
}

#[test]
fn a_node_comes_back_to_its_own_zone_after_any_rotations_and_joins_no_other_one() {
    let ((_a, founding), (_b, joining), (_c, foreign)) = (directory(), directory(), directory());
    let founder = founded(&founding);
    let member = joined(&founder, &joining);
    let node = member.id().clone();
    let first = founder.authority().fingerprint();
    drop(member);
    let mut now = NOW;
    for _ in 0..4 {
        let retires = founder.rotate(now, HOUR, false).unwrap();
        now = retires;
        founder
            .change_trust(|trust| {
                trust.forget(now);
                Ok(())
            })
            .unwrap();
    }
    let trust = founder.trust().borrow().clone();
    assert_eq!((trust.authorities().count(), trust.lineage().count()), (1, 4));
    assert!(trust.has_fingerprint(first), "a token of that one is no other zone's");
    assert_eq!(
        resumed(&founding, now).trust().borrow().lineage().count(),
        4,
        "it is remembered over a restart"
    );

    // Another zone of the same name, and one that only claims to have come from this one.
    let other = founded(&foreign);
    for pretends in [false, true] {
        let key = NodeKey::open(&joining).unwrap();
        let certificate =
            other.authority().sign(&request_of(&key.request().unwrap()), NOW).unwrap();
        let lineage: Vec<_> =
            trust.lineage().filter(|_| pretends).map(|root| root.certificate.clone()).collect();
        let authority = other.authority().certificate().clone();
        let error = key.adopt(authority, &lineage, &certificate, NOW).err().unwrap();
        assert!(matches!(error, MembershipError::TokenOfOtherZone { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("--data") && error.contains("remove"), "{error}");
    }
    assert_eq!(resumed(&joining, NOW).authority().fingerprint(), first, "nothing changed");

    let back = adopted(&founder, &joining).unwrap();
    assert_eq!(
        (back.id(), back.authority().fingerprint()),
        (&node, founder.authority().fingerprint())
    );
}

#[test]
fn who_joined_after_a_rotation_learns_what_came_before_and_nothing_else() {
    let ((_a, founding), (_b, joining), (_c, foreign)) = (directory(), directory(), directory());
    let founder = founded(&founding);
    let first = founder.authority().fingerprint();
    for now in [NOW, NOW + 3600, NOW + 7200] {
        founder
            .change_trust(|trust| {
                trust.forget(now);
                Ok(())
            })
            .unwrap();
        founder.rotate(now, HOUR, false).unwrap();
    }
    let mut trust = (**adopted(&founder, &joining).unwrap().trust().borrow()).clone();
    assert!(!trust.has_fingerprint(first));
    let other = founded(&foreign);
    other.rotate(NOW, HOUR, false).unwrap();
    let said = |trust: &Trust| TrustDocument::read(&trust.to_bytes()).unwrap();
    let mut theirs = (**other.trust().borrow()).clone();
    theirs.forget(NOW + 3600);
    assert_eq!(theirs.lineage().count(), 1);
    trust.merge(&said(&theirs), NOW);
    assert_eq!(trust.lineage().count(), 0, "of another zone");
    let mut ours = (**founder.trust().borrow()).clone();
    ours.forget(NOW + 3 * 3600);
    trust.merge(&said(&ours), NOW);
    assert!(trust.has_fingerprint(first));
    assert_eq!(trust.to_bytes(), ours.to_bytes(), "all keep the same");
}

#[test]
fn an_authority_that_no_known_one_signed_is_not_believed() {
    let ((_a, ours), (_b, theirs)) = (directory(), directory());
    let (ours, theirs) = (founded(&ours), founded(&theirs));
    theirs.rotate(NOW, HOUR, false).unwrap();
    let said = TrustDocument::read(&theirs.trust().borrow().to_bytes()).unwrap();
    let before = ours.trust().borrow().clone();
    ours.change_trust(|trust| {
        trust.merge(&said, NOW);
        Ok(())
    })
    .unwrap();
    assert_eq!(*ours.trust().borrow(), before);
    let request = request_of(&ours.request().unwrap());
    let leaf = theirs.authority().sign(&request, NOW).unwrap();
    assert!(ours.renew(leaf, theirs.authority().certificate()).is_err());
}

#[test]
fn damaged_trust_is_named_and_nothing_goes_on_without_it() {
    let (_data, directory) = directory();
    let founder = founded(&directory);
    founder.rotate(NOW, HOUR, false).unwrap();
    for damage in ["", "{}", "nonsense"] {
        std::fs::write(directory.trust_file(), damage).unwrap();
        let error = NodeKey::open(&directory).unwrap().resume(NOW).err().unwrap().to_string();
        assert!(error.contains("trust.json is damaged"), "{error}");
    }
}

proptest::proptest! {
    /// Whoever hears what in which order, all believe the same in the end.
    #[test]
    fn evictions_merge_the_same_in_any_order(
        said in proptest::collection::vec((0_u8..6, 0_u8..4, 0_u64..3), 0..12),
        seed in proptest::prelude::any::<u64>(),
    ) {
        let (_data, directory) = directory();
        let identity = founded(&directory);
        let trust = identity.trust().borrow().clone();
        let node = |number: u8| NodeId::of_public_key(&[number]);
        let documents: Vec<_> = said
            .iter()
            .map(|(gone, by, late)| {
                let mut trust = (*trust).clone();
                trust.evict(node(*gone), node(*by), NOW + late).unwrap();
                TrustDocument::read(&trust.to_bytes()).unwrap()
            })
            .collect();
        let merged = |order: &mut dyn Iterator<Item = &TrustDocument>| {
            let mut trust = (*trust).clone();
            order.for_each(|document| trust.merge(document, NOW));
            trust
        };
        let turn = usize::try_from(seed % 12).unwrap() % documents.len().max(1);
        let mut turned = documents[turn..].iter().rev().chain(&documents[..turn]);
        proptest::prop_assert_eq!(merged(&mut documents.iter()), merged(&mut turned));
    }
}

#[test]
fn evicted_keys_are_bounded_and_forgotten_when_they_are_of_no_use_any_more() {
    let (_data, directory) = directory();
    let mut trust = (**founded(&directory).trust().borrow()).clone();
    let node = |number: u32| NodeId::of_public_key(&number.to_be_bytes());
    for number in 0..2000 {
        assert!(trust.evict(node(number), node(0), NOW).unwrap());
    }
    let error = trust.evict(node(2000), node(0), NOW).unwrap_err().to_string();
    assert!(error.contains("aop cluster rotate-key"), "{error}");
    assert!(!trust.evict(node(7), node(0), NOW).unwrap(), "it is evicted already");
    let said = TrustDocument::read(&trust.to_bytes()).unwrap();
    let kept = 92 * 24 * 3600;
    trust.forget(NOW + kept - 1);
    assert!(trust.is_evicted(&node(7)));
    trust.forget(NOW + kept);
    assert!(!trust.is_evicted(&node(7)));
    trust.merge(&said, NOW + kept);
    assert!(!trust.is_evicted(&node(7)), "nobody brings it back");
}
