;; `shout` at the root and in an interface, with a record from another one beside it.
(component
  (import "acme:text/types@1.0.0" (instance $types
    (type $o (record (field "max-words" u32) (field "plain" bool)))
    (export "options" (type (eq $o)))))
  (alias export $types "options" (type $options))
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "none"))
    (func (export "ii-i") (param i32 i32) (result i32) unreachable))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (func $shout (param "text" string) (result string)
    (canon lift (core func $i "ii-i") (memory $memory) (realloc $realloc)))
  (func $count (param "options" $options) (result u32) (canon lift (core func $i "ii-i")))
  (instance $kit
    (export "shout" (func $shout))
    (export "options" (type $options))
    (export "count" (func $count)))
  (export "acme:text/kit@1.0.0" (instance $kit))
  (export "shout" (func $shout)))
