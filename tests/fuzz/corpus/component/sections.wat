(component
  (core module $m (func (export "none")))
  (core instance $i (instantiate $m))
  (func $run (canon lift (core func $i "none")))
  (export "run" (func $run))
  (@custom "description" "Says what it is.")
  (@custom "version" "1.2.3")
  (@custom "package-docs" "\00{\"worlds\":{\"root\":{\"func_exports\":{\"run\":\"Runs.\"}}}}")
  (@custom "agent.wit" "package acme:run;\0aworld root {\0a  /// Runs it.\0a  export run: func();\0a}\0a"))
