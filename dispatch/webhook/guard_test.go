package webhook

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/invalid"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestGuardZoo(t *testing.T) {
	const public, private, never = "public", "private", "never"
	zoo := map[string]string{
		"1.1.1.1": public, "8.8.8.8": public, "9.255.255.255": public, "11.0.0.0": public, "100.63.255.255": public, "100.128.0.0": public,
		"126.255.255.255": public, "128.0.0.0": public, "169.253.255.255": public, "169.255.0.0": public, "172.15.255.255": public,
		"172.32.0.0": public, "192.0.1.0": public, "192.167.255.255": public, "192.169.0.0": public, "198.17.255.255": public, "198.20.0.0": public, "223.255.255.255": public,
		"2606:4700::1111": public, "2a00:1450:4001::1": public, "2001:200::1": public, "3ffe::1": public,
		"::ffff:8.8.8.8": public, "64:ff9b::8.8.8.8": public,

		"127.0.0.1": private, "127.255.255.254": private, "0.0.0.0": private, "::": private, "::1": private,
		"10.0.0.0": private, "10.255.255.255": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.0.1": private,
		"100.64.0.1": private, "100.127.255.255": private, "fc00::1": private, "fdff::1": private, "fec0::1": private, "64:ff9b:1::1": private,
		"::ffff:127.0.0.1": private, "::ffff:10.0.0.1": private, "64:ff9b::127.0.0.1": private, "64:ff9b::a00:1": private,

		"169.254.0.1": never, "169.254.169.254": never, "fe80::1": never, "fe80::1%lo": never, "febf::1": never, "::ffff:169.254.169.254": never,
		"64:ff9b::169.254.169.254": never, "fd00:ec2::254": never, "fd20:ce::254": never, "100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never, "169.254.170.2": never,
		"224.0.0.1": never, "239.255.255.255": never, "240.0.0.1": never, "255.255.255.255": never, "ff02::1": never, "0.1.2.3": never,
		"192.0.0.8": never, "192.0.2.1": never, "198.51.100.1": never, "203.0.113.1": never, "198.18.0.1": never, "198.19.255.255": never, "192.88.99.1": never,
		"2001:db8::1": never, "3fff::1": never, "2001::1": never, "2001:0:4136:e378:8000:63bf:3fff:fdd2": never, "2002:7f00:1::": never, "2002:808:808::": never,
		"::8.8.8.8": never, "::7f00:1": never, "::ffff:0:127.0.0.1": never, "100::1": never, "5f00::1": never, "4000::1": never, "8000::1": never, "e000::1": never,
	}
	closed := newGuard(Options{})
	local := newGuard(Options{AllowPrivate: true})
	for s, kind := range zoo {
		addr := netip.MustParseAddr(s)
		if err := closed.check(addr); (err == nil) != (kind == public) {
			t.Errorf("%s is %s; by default: %v", s, kind, err)
		}
		if err := local.check(addr); (err == nil) != (kind != never) {
			t.Errorf("%s is %s; with AllowPrivate: %v", s, kind, err)
		}
		own := addr.Unmap().WithZone("")
		exact := newGuard(Options{AllowCIDRs: []netip.Prefix{netip.PrefixFrom(own, own.BitLen())}})
		if err := exact.check(addr); err != nil {
			t.Errorf("%s, allowed by itself: %v", s, err)
		}
	}
	nat := newGuard(Options{AllowCIDRs: prefixes("10.0.0.0/8")})
	if err := nat.check(netip.MustParseAddr("64:ff9b::10.0.0.1")); err != nil {
		t.Error("allowed, through NAT64:", err)
	}
	if err := nat.check(netip.MustParseAddr("192.168.0.1")); err == nil {
		t.Error("a CIDR allows what is not in it")
	}
}

func TestGuardControl(t *testing.T) {
	g := newGuard(Options{})
	for address, ok := range map[string]bool{
		"1.1.1.1:443": true, "[2606:4700::1111]:443": true, "127.0.0.1:80": false, "[::1]:80": false, "[fe80::1%eth0]:80": false,
		"": false, "/run/socket": false, "name:80": false,
	} {
		if err := g.control("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// However the address is written, and whatever the resolver makes of it, the
// guard sees what is dialled. This resolver makes 127.0.0.1 of everything.
func TestGuardAtDialTime(t *testing.T) {
	var hits atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := newTestDeliverer(t, Options{
		AllowCIDRs: prefixes("192.0.2.0/24"), // so that the loopback is not allowed
		Resolver:   fakeDNS(t, func(string, int) []string { return []string{"127.0.0.1"} }),
	})
	const guarded, noName, noURL = " refused ", "DNS: no such host", "not an http or https URL"
	for host, want := range map[string]string{
		"127.0.0.1": guarded, "0x7f.1": guarded, "0x7f000001": guarded, "localhost": guarded, "localhost.": guarded, "LOCALHOST": guarded,
		"a.localhost": guarded, "innocent.example.org": guarded, "127.0.0.1.nip.example.org": guarded, "0.0.0.0": guarded,
		"[::1]": guarded, "[0:0:0:0:0:0:0:1]": guarded, "[::]": guarded, "[::ffff:127.0.0.1]": guarded, "[::ffff:7f00:1]": guarded,
		"[::127.0.0.1]": guarded, "[64:ff9b::127.0.0.1]": guarded, "[fe80::1%25lo]": guarded,
		"１２７.0.0.1": guarded, "127。0。0。1": guarded, "①②⑦.⓪.⓪.①": guarded,
		// Go's resolver takes no name made of digits alone.
		"127.1": noName, "127.0.1": noName, "2130706433": noName, "0177.0.0.1": noName, "017700000001": noName, "127.0.0.1.": noName,
		"127.000.000.001": noName, "0": noName, "%31%32%37.0.0.1": noURL,
	} {
		out, _ := d.Send(context.Background(), testType("http://"+host+":"+port+"/"), testLease())
		if out.Verdict != dispatch.Retry || out.Status != 0 || !strings.Contains(out.Err, want) {
			t.Errorf("%s: %+v, want %q", host, out, want)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d deliveries got past the guard", n)
	}
	out, _ := d.Send(context.Background(), testType(s.URL), testLease())
	if want := "the target's address 127.0.0.1 is loopback: refused without --allow-private-targets"; out.Err != want {
		t.Errorf("got %q, want %q", out.Err, want)
	}
}

// A name that was fine when it was first looked up is judged again when it is
// dialled again (DNS rebinding).
func TestGuardAgainstRebinding(t *testing.T) {
	var hits atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		w.Header().Set("Connection", "close")
	})
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := newTestDeliverer(t, Options{
		AllowCIDRs: prefixes("127.0.0.1/32"),
		Resolver: fakeDNS(t, func(_ string, n int) []string {
			return [][]string{{"127.0.0.1"}, {"127.0.0.2"}, {"169.254.169.254"}, {"127.0.0.2", "127.0.0.1"}}[n-1]
		}),
	})
	target := "http://rebind.example.org:" + port
	if err := d.CheckTarget(target); err != nil {
		t.Error(err)
	}
	for i, want := range []dispatch.Outcome{
		{Verdict: dispatch.Done, Status: 200},
		{Err: "the target's address 127.0.0.2 is loopback: refused without --allow-private-targets"},
		{Err: "the target's address 169.254.169.254 is a cloud metadata service: refused unless explicitly allowed by CIDR"},
		{Verdict: dispatch.Done, Status: 200}, // the one that is allowed was dialled
	} {
		out, _ := d.Send(context.Background(), testType(target), testLease())
		if out.Verdict != want.Verdict || out.Status != want.Status || out.Err != want.Err {
			t.Errorf("lookup %d: %+v", i+1, out)
		}
	}
	if n := hits.Load(); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
}

func TestGuardIgnoresTheEnvironmentsProxy(t *testing.T) {
	var hits atomic.Int64
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	d := newTestDeliverer(t, Options{Resolver: fakeDNS(t, func(string, int) []string { return nil })})
	if d.transport.Proxy != nil {
		t.Error("there is a proxy")
	}
	out, _ := d.Send(context.Background(), testType("http://target.example.org/"), testLease())
	if out.Err != "DNS: no such host target.example.org" || hits.Load() != 0 {
		t.Errorf("%+v, proxy asked %d times", out, hits.Load())
	}
}

func TestCheckTarget(t *testing.T) {
	d, err := New(Options{Types: typeMap{}})
	if err != nil {
		t.Fatal(err)
	}
	for target, ok := range map[string]bool{
		"https://example.org/x": true, "http://1.1.1.1": true, "http://[2606:4700::1111]:80/": true,
		"http://127.0.0.1:9000/": false, "http://127.0.0.1./": false, "http://[::1]/": false, "http://[fe80::1%25eth0]/": false, "http://LocalHost:80/": false,
		"http://x.localhost./": false, "http://169.254.169.254/latest": false, "http://10.1.2.3/?token=CANARY": false, "http://[::ffff:10.0.0.1]": false, "http://\x7fCANARY": false,
	} {
		err := d.CheckTarget(target)
		e, isInvalid := errors.AsType[*invalid.Error](err)
		if (err == nil) != ok || (err != nil && (!isInvalid || e.Field != "target" || strings.Contains(e.Error(), "CANARY"))) {
			t.Errorf("%s: %v", target, err)
		}
	}
	if err := newTestDeliverer(t, Options{}).CheckTarget("http://localhost:9000/"); err != nil {
		t.Error("with AllowPrivate:", err)
	}
}

// fakeDNS returns a resolver whose A records are made by answer, which is given
// the name and the number of the lookup. No addresses: no such host.
func fakeDNS(t *testing.T, answer func(name string, n int) []string) *net.Resolver {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { c.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 1500)
		for n := 0; ; {
			size, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			// A header of 12 bytes, then the labels of the name, then type and class.
			msg, name, at := buf[:size], "", 12
			for ; msg[at] != 0; at += int(msg[at]) + 1 {
				name += string(msg[at+1:at+1+int(msg[at])]) + "."
			}
			question := msg[12 : at+5]
			var addrs []string
			if msg[at+2] == 1 { // type A
				n++
				addrs = answer(name, n)
			}
			reply := append([]byte{msg[0], msg[1], 0x81, 0x80, 0, 1, 0, byte(len(addrs)), 0, 0, 0, 0}, question...)
			if msg[at+2] == 1 && len(addrs) == 0 {
				reply[3] |= 3 // NXDOMAIN
			}
			for _, a := range addrs {
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = binary.BigEndian.AppendUint32(reply, binary.BigEndian.Uint32(netip.MustParseAddr(a).AsSlice()))
			}
			_, _ = c.WriteTo(reply, from)
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

// A URL a person typed is only ever shown redacted.
func TestShowURL(t *testing.T) {
	u, err := url.Parse("https://u:CANARY@h:1/p%2Fq?CANARY#CANARY")
	if err != nil {
		t.Fatal(err)
	}
	if got := showURL(u); got != "https://h:1/p%2Fq?redacted" {
		t.Error(got)
	}
}
