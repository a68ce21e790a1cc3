use super::*;

#[test]
fn a_damaged_file_of_the_same_length_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let components = Components::open(directory.path()).unwrap();
    let bytes = vec![7; 3 * COMPARED_BYTES + 1];
    let digest = Digest::of(&bytes);
    for damaged in [0, bytes.len() - 1] {
        let mut other = bytes.clone();
        other[damaged] = 0;
        fs::write(components.path(&digest), other).unwrap();
        assert!(components.verify(&digest).is_err());
        components.put(&bytes, &digest).unwrap();
        components.verify(&digest).unwrap();
    }
}

#[test]
fn a_whole_file_is_left_as_it_is() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let components = Components::open(directory.path()).unwrap();
    let (bytes, digest) = (b"component", Digest::of(b"component"));
    let inode = |components: &Components| fs::metadata(components.path(&digest)).unwrap().ino();
    components.put(bytes, &digest).unwrap();
    let before = inode(&components);
    components.put(bytes, &digest).unwrap();
    assert_eq!(inode(&components), before);
}
