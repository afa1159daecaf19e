package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pages are the templates: each page's file with the layout and the parts.
type pages map[string]*template.Template

func parsePages(a *assets) (pages, error) {
	base, err := template.New("").Funcs(functions(a)).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	p := pages{}
	for _, name := range []string{"login", "bounce", "overview", "type", "typeform", "secret", "enqueue", "confirm", "job", "error", "secrets", "trial", "handlers", "bulk", "schedules", "schedule", "dead", "process", "tokens"} {
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if p[name], err = t.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// frame is what the layout needs of every page; Body is the page's own.
type frame struct {
	Title   string
	Version string
	Flash   string
	CSRF    string
	Origin  string // of this server, for curl lines
	User    *user  // nil if not logged in
	Refresh int    // seconds until the browser asks again; 0: never
	// RefreshTo is where the browser goes by itself at once, if anywhere.
	RefreshTo string
	Body      any
}

type user struct {
	Name    string
	Scopes  string
	Types   string
	Expires time.Time
	NewType bool
	// What the menu leads to.
	Jobs, Schedules, Admin, Tokens bool
}

func (u *UI) userOf(who *auth.Identity) *user {
	if who == nil {
		return nil
	}
	v := &user{Name: who.Subject(), Expires: who.ExpiresAt(), NewType: who.Can(auth.TypesWrite),
		Jobs: who.Can(auth.JobsRead) && who.Can(auth.TypesRead), Schedules: who.Can(auth.SchedulesRead), Admin: who.Can(auth.Admin),
		Tokens: u.opts.Mint != nil && who.Can(auth.Admin) && who.CanAllTypes()}
	if v.Name == "" {
		v.Name = "token"
	}
	for _, s := range who.Scopes() {
		v.Scopes += " " + string(s)
	}
	v.Scopes = strings.TrimSpace(v.Scopes)
	if !who.CanAllTypes() {
		v.Types = strings.Join(who.JobTypes(), ", ")
	}
	return v
}

func (u *UI) render(r *request, status int, name, title string, body any) error {
	return u.renderFrame(r, status, name, frame{Title: title, Body: body})
}

func (u *UI) renderFrame(r *request, status int, name string, f frame) error {
	f.Version, f.User = u.opts.Version, u.userOf(r.who)
	f.Origin = r.origin()
	if r.who != nil {
		f.CSRF, f.Flash = r.sess.csrf(), takeFlash(r.c)
	}
	return u.write(r, status, name, "layout", f)
}

// renderPart renders a part of a page, for a script.
func (u *UI) renderPart(r *request, name, part string, body any) error {
	return u.write(r, fiber.StatusOK, name, part, body)
}

// write renders all before it sends any, so that an error leaves no half page.
func (u *UI) write(r *request, status int, name, part string, data any) error {
	b, err := u.draw(name, part, data)
	if err != nil {
		return r.c.Status(fiber.StatusInternalServerError).SendString("This page could not be drawn. The log says why.")
	}
	r.c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return sendPage(r.c.Status(status), b)
}

// draw makes a page, or a part of one.
func (u *UI) draw(name, part string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := u.pages[name].ExecuteTemplate(&b, part, data); err != nil {
		u.log.Error("a template failed", "page", name, "error", err)
		return nil, err
	}
	return b.Bytes(), nil
}

// flash keeps a message for the page that follows an action: the code of a
// text below and a number, so that nothing foreign is ever shown.
func (r *request) flash(code string, n int) {
	r.c.Cookie(&fiber.Cookie{
		Name: flashCookie, Value: code + "." + strconv.Itoa(n), Path: "/ui", MaxAge: 60,
		HTTPOnly: true, Secure: r.sess.secure, SameSite: fiber.CookieSameSiteStrictMode,
	})
}

func takeFlash(c *fiber.Ctx) string {
	raw := c.Cookies(flashCookie)
	if raw == "" {
		return ""
	}
	c.Cookie(&fiber.Cookie{Name: flashCookie, Path: "/ui", Expires: time.Unix(1, 0), HTTPOnly: true, SameSite: fiber.CookieSameSiteStrictMode})
	code, count, _ := strings.Cut(raw, ".")
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return ""
	}
	switch code {
	case "paused":
		return "Paused. Running jobs finish; no more are started."
	case "resumed":
		return "Resumed."
	case "saved":
		return "Settings saved; every dispatcher follows within a second."
	case "registered":
		return "Registered. It takes jobs now."
	case "enqueued":
		return "Enqueued."
	case "replaced":
		return "Enqueued. A job of that ID existed and was replaced."
	case "redriven":
		return count2(n, "dead job waits again.", "dead jobs wait again.")
	case "bulk":
		return count2(n, "job. Those that had moved on were passed over.", "jobs. Those that had moved on were passed over.")
	case "schedule-pause":
		return "Paused: it does not tick, and what passes meanwhile is not caught up."
	case "schedule-resume":
		return "Resumed."
	case "schedule-run":
		return "Its job was pushed."
	case "schedule-delete":
		return "The schedule is gone."
	case "limits":
		return "In force from the next job on, in every dispatcher."
	case "holding":
		return "Held: jobs wait, and none is tried."
	case "unheld":
		return "The hold is lifted."
	case "rotated":
		return "The secret signs from now on."
	case "unsigned":
		return "Deleted: it signs nothing any more."
	case "stopped":
		return "Stopped. What it had not come to is still dead."
	case "purged":
		return count2(n, "dead job deleted.", "dead jobs deleted.")
	case "retry":
		return "It waits to run again."
	case "promote":
		return "It is due now."
	case "cancelled":
		return "Cancelled."
	case "cancelling":
		return "Cancelling: the attempt under way is being aborted, and there will be no other."
	case "removed":
		return "The job was removed."
	}
	return ""
}

func count2(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func functions(a *assets) template.FuncMap {
	return template.FuncMap{
		"float": func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) },
		"asset": a.url, "num": number, "num64": func(n int64) string { return number(int(n)) }, "bytes": size, "dur": duration, "ago": ago, "exact": exact, "iso": iso,
		"clip": clip, "pretty": pretty, "sentence": sentence, "typeURL": typeURL, "jobURL": jobURL,
		"jobDataURL": jobDataURL, "deadURL": deadURL, "scheduleURL": scheduleURL, "jobLiveURL": jobLiveURL,
		"curlOrigin": curlOrigin,
		"dict": func(pairs ...any) (map[string]any, error) {
			if len(pairs)%2 != 0 {
				return nil, fmt.Errorf("dict needs pairs")
			}
			m := make(map[string]any, len(pairs)/2)
			for i := 0; i < len(pairs); i += 2 {
				m[fmt.Sprint(pairs[i])] = pairs[i+1]
			}
			return m, nil
		},
	}
}

// curlOrigin is this server's address for a line that people paste into a shell.
func curlOrigin(origin string) string {
	if u, err := url.Parse(origin); err == nil && strings.Trim(u.Host, hostChars) == "" && u.Host != "" {
		return origin
	}
	return "http://127.0.0.1:8888"
}

const hostChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"
