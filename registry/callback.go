package registry

// CallbackType is the name of the type whose jobs deliver callback URLs, each
// to its own. It is registered when the first is to be delivered; its settings (concurrency, retry,
// timeout, retention) may be changed like any type's, its jobs looked at, its dead ones redriven.
// Nobody pushes jobs of it but the relay.
const CallbackType = "deetoo.callback"
