(component
  (core module $m
    (func (export "i-i") (param i32) (result i32) unreachable)
    (func (export "i") (param i32) unreachable))
  (core instance $i (instantiate $m))
  (type $blob' (resource (rep i32)))
  (component $inner
    (import "blob" (type $b (sub resource)))
    (import "[constructor]blob" (func $new (param "size" u32) (result (own $b))))
    (import "[method]blob.write" (func $write (param "self" (borrow $b)) (result u32)))
    (export $blob "blob" (type $b))
    (export "[constructor]blob" (func $new) (func (param "size" u32) (result (own $blob))))
    (export "[method]blob.write" (func $write) (func (param "self" (borrow $blob)) (result u32))))
  (func $new (param "size" u32) (result (own $blob')) (canon lift (core func $i "i-i")))
  (func $write (param "self" (borrow $blob')) (result u32) (canon lift (core func $i "i-i")))
  (instance $store (instantiate $inner
    (with "blob" (type $blob'))
    (with "[constructor]blob" (func $new))
    (with "[method]blob.write" (func $write))))
  (export "acme:blobs/store@0.1.0" (instance $store)))
