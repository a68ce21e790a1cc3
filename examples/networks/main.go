// The component. What it exports is in the packages of exports/; the generated wit_exports calls them.
package main

import _ "example.com/networks/exports/wit_exports"

func main() {}
