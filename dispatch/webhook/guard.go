package webhook

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/deetoo/deetoo/invalid"
)

// guard keeps deliveries out of networks that are none of the job's business,
// so that whoever may register a target cannot make the dispatcher talk to its
// own host, its neighbours or its cloud (SSRF). It judges the address being
// dialled, after the resolver has had its say: neither an odd spelling of an
// address nor a name whose answer changes gets past it.
type guard struct {
	rules        []rule
	allow        []netip.Prefix
	allowPrivate bool
	nat64        netip.Prefix
}

// rule says what the addresses of a prefix are.
type rule struct {
	prefix netip.Prefix
	kind   string
	// private addresses are those that AllowPrivate allows.
	private bool
}

// newGuard makes a guard from Options. The rules are ordered: the first that
// fits an address decides. Sources: IANA's special-purpose address registries
// of IPv4 and IPv6 (RFC 6890), and the clouds' documentation of their metadata
// services.
func newGuard(o Options) guard {
	g := guard{allow: o.AllowCIDRs, allowPrivate: o.AllowPrivate, nat64: netip.MustParsePrefix("64:ff9b::/96")}
	add := func(kind string, private bool, prefixes ...string) {
		for _, p := range prefixes {
			g.rules = append(g.rules, rule{netip.MustParsePrefix(p), kind, private})
		}
	}
	add("a cloud metadata service", false,
		"169.254.169.254/32", "169.254.170.2/32", // AWS, GCP, Azure, DigitalOcean, …; ECS
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // Alibaba, Azure, Oracle
		"fd00:ec2::/32", "fd20:ce::254/128") // AWS, GCP
	add("link-local", false, "169.254.0.0/16", "fe80::/10")
	// The unspecified address connects to this host.
	add("loopback", true, "127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128")
	add("private", true, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
		"fc00::/7", "fec0::/10", "64:ff9b:1::/48")
	add("multicast", false, "224.0.0.0/4", "ff00::/8")
	add("for documentation", false, "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
		"2001:db8::/32", "3fff::/20")
	add("reserved", false, "0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4")
	// Teredo and 6to4 have an IPv4 address inside, and are dead.
	add("a tunnel", false, "2001::/32", "2002::/16")
	// All but 2000::/3 is not global unicast; IPv4-compatible addresses among it.
	add("reserved", false, "2001::/23", "::/3", "4000::/2", "8000::/1")
	return g
}

// check returns a *refusedError if the address may not be dialled.
func (g guard) check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	seen := []netip.Addr{addr}
	if g.nat64.Contains(addr) {
		// Networks without IPv4 reach all of it through this prefix (RFC 6052), so
		// the address inside is what counts.
		b := addr.As16()
		seen = append(seen, netip.AddrFrom4([4]byte(b[12:])))
	}
	for _, p := range g.allow {
		for _, a := range seen {
			if p.Contains(a) {
				return nil
			}
		}
	}
	judged := seen[len(seen)-1]
	for _, r := range g.rules {
		if r.prefix.Contains(judged) {
			if r.private && g.allowPrivate {
				return nil
			}
			return &refusedError{addr: addr, rule: r}
		}
	}
	return nil
}

// control is a net.Dialer's Control: it sees each address before it is dialled.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the guard cannot read the address being dialled: %w", err)
	}
	return g.check(ap.Addr())
}

// refusedError says that the guard refused an address, and what would help.
type refusedError struct {
	addr netip.Addr
	rule rule
}

// Error is for the person who registered the target.
func (e *refusedError) Error() string {
	return fmt.Sprintf("the target's address %s is %s: %s", e.addr, e.rule.kind, e.remedy())
}

func (e *refusedError) remedy() string {
	if e.rule.private {
		return "refused without --allow-private-targets"
	}
	return "refused unless explicitly allowed by CIDR"
}

// CheckTarget refuses early a target that Deliver would refuse anyway because
// its host is the address of a forbidden network, or localhost. Other names are
// judged when they are dialled. The error is an *invalid.Error about "target";
// that the URL is one of a target is not checked.
func (d *Deliverer) CheckTarget(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return invalid.Errorf("target", "must be a URL")
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	if e, ok := d.guard.check(addr).(*refusedError); ok {
		return invalid.Errorf("target", "must not be at %s, which is %s: %s", e.addr, e.rule.kind, e.remedy())
	}
	return nil
}
