// Package charttest has no code but tests. They render charts/dispatcher with Helm's own library over the values in
// its ci folder, hold every object to the types of Kubernetes, the Gateway API and KEDA, and run the program
// as the objects say. They are a module of their own, so that nobody who uses DeeToo as a library sees Helm in its go.mod.
package charttest
