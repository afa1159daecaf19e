//go:build !unix

package http1

import "time"

// alive cannot look into a connection here without waiting, so that only one
// that was used a moment ago is used again.
func (c *conn) alive() bool { return time.Since(c.idleSince) < time.Second }
