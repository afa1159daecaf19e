package api

import (
	"context"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
)

// Route is one row of the table of routes.
type Route struct {
	Method string
	// Path as in OpenAPI: "/v1/types/{type}".
	Path string
	// Scope the token must have. Empty: the route needs no token, or one that is no JWT.
	Scope auth.Scope
	// OperationID is the operation's name in openapi.yaml.
	OperationID string
	// Query lists the query parameters; others are refused by name.
	Query []string

	handler func(*request) error
}

// Routes lists all routes, in the order of their registration.
func (a *API) Routes() []Route {
	const (
		none = auth.Scope("")
		typ  = "/v1/types/{type}"
		jobs = typ + "/jobs"
		job  = jobs + "/{id}"
		back = job + "/callback"
		plan = "/v1/schedules/{name}"
		v1   = "/api/v1/{type}"
		v2   = "/api/v2/{type}"
	)
	return []Route{
		{"GET", "/v1/types", auth.TypesRead, "listTypes", nil, a.listTypes},
		{"GET", typ, auth.TypesRead, "getType", nil, a.getType},
		{"PUT", typ, auth.TypesWrite, "putType", nil, a.putType},
		{"PATCH", typ, auth.TypesWrite, "patchType", nil, a.patchType},
		{"DELETE", typ, auth.TypesWrite, "deleteType", []string{"force"}, a.deleteType},
		{"POST", typ + "/pause", auth.TypesWrite, "pauseType", nil, a.pauseType},
		{"POST", typ + "/resume", auth.TypesWrite, "resumeType", nil, a.resumeType},
		{"POST", typ + "/hold", auth.TypesWrite, "holdType", nil, a.holdType},
		{"POST", typ + "/unhold", auth.TypesWrite, "unholdType", nil, a.unholdType},
		{"POST", typ + "/test", auth.TypesWrite, "testType", nil, a.testType},
		{"POST", typ + "/secrets", auth.TypesWrite, "addSecret", nil, a.addSecret},
		{"DELETE", typ + "/secrets/{secret}", auth.TypesWrite, "deleteSecret", nil, a.deleteSecret},
		{"POST", typ + "/secrets/reencrypt", auth.TypesWrite, "reencryptSecrets", nil, a.reencryptSecrets},
		{"GET", typ + "/stats", auth.JobsRead, "getTypeStats", nil, a.typeStats},
		{"GET", "/v1/stats", auth.JobsRead, "getStats", nil, a.allStats},

		{"POST", jobs, auth.JobsWrite, "pushJobs", nil, a.pushJobs},
		{"GET", jobs, auth.JobsRead, "listJobs", []string{"state", "fingerprint", "tag", "cursor", "limit"}, a.listJobs},
		{"POST", jobs + "/purge", auth.JobsWrite, "purgeJobs", []string{"state"}, a.purgeJobs},
		{"GET", job, auth.JobsRead, "getJob", nil, a.getJob},
		{"PUT", job, auth.JobsWrite, "putJob", nil, a.putJob},
		{"DELETE", job, auth.JobsWrite, "cancelJob", nil, a.cancelJob},
		{"POST", job + "/retry", auth.JobsWrite, "retryJob", nil, a.retryJob},
		{"POST", job + "/promote", auth.JobsWrite, "promoteJob", nil, a.promoteJob},
		{"GET", typ + "/groups", auth.JobsRead, "listGroups", []string{"cursor", "limit"}, a.listGroups},
		{"GET", job + "/attempts", auth.JobsRead, "listAttempts", nil, a.listAttempts},
		{"GET", job + "/why", auth.JobsRead, "explainJob", nil, a.explainJob},
		{"GET", typ + "/dead/groups", auth.JobsRead, "listDeadGroups", []string{"cursor", "limit"}, a.deadGroups},
		{"GET", typ + "/dead/export", auth.JobsRead, "exportDead", []string{"fingerprint", "error", "tag", "after", "before"}, a.exportDead},
		{"POST", typ + "/dead/redrive", auth.JobsWrite, "redriveDead", nil, a.redriveDead},
		{"POST", typ + "/dead/purge", auth.JobsWrite, "purgeDead", []string{"fingerprint", "error", "tag", "after", "before"}, a.purgeDead},
		{"GET", typ + "/redrives", auth.JobsRead, "listRedrives", nil, a.listRedrives},
		{"GET", typ + "/redrives/{redrive}", auth.JobsRead, "getRedrive", nil, a.getRedrive},
		{"DELETE", typ + "/redrives/{redrive}", auth.JobsWrite, "stopRedrive", nil, a.stopRedrive},

		{"GET", "/v1/schedules", auth.SchedulesRead, "listSchedules", nil, a.listSchedules},
		{"GET", plan, auth.SchedulesRead, "getSchedule", nil, a.getSchedule},
		{"PUT", plan, auth.SchedulesWrite, "putSchedule", nil, a.putSchedule},
		{"PATCH", plan, auth.SchedulesWrite, "patchSchedule", nil, a.patchSchedule},
		{"DELETE", plan, auth.SchedulesWrite, "deleteSchedule", nil, a.deleteSchedule},
		{"POST", plan + "/pause", auth.SchedulesWrite, "pauseSchedule", nil, a.pauseSchedule},
		{"POST", plan + "/resume", auth.SchedulesWrite, "resumeSchedule", nil, a.resumeSchedule},
		{"POST", plan + "/run", auth.SchedulesWrite, "runSchedule", nil, a.runSchedule},
		{"GET", plan + "/next", auth.SchedulesRead, "nextTicks", []string{"n"}, a.nextTicks},
		{"GET", plan + "/firings", auth.SchedulesRead, "listFirings", nil, a.listFirings},

		{"POST", "/v1/workflows", auth.JobsWrite, "createWorkflow", nil, a.createWorkflow},
		{"GET", "/v1/workflows/{id}", auth.JobsRead, "getWorkflow", nil, a.getWorkflow},

		{"POST", back + "/heartbeat", none, "callbackHeartbeat", nil, a.heartbeat},
		{"POST", back + "/progress", none, "callbackProgress", nil, a.progress},
		{"POST", back + "/log", none, "callbackLog", nil, a.log},
		{"POST", back + "/complete", none, "callbackComplete", nil, a.complete},
		{"POST", back + "/fail", none, "callbackFail", nil, a.fail},

		{"POST", v1, auth.JobsWrite, "deetooV1Push", nil, a.legacyPush},
		{"POST", v1 + "/{id}", auth.JobsWrite, "deetooV1PushID", nil, a.legacyPushID},
		{"PUT", v1 + "/{id}", auth.JobsWrite, "deetooV1Put", nil, a.legacyPushID},
		{"DELETE", v1 + "/{id}", auth.JobsWrite, "deetooV1Remove", nil, a.legacyRemove},
		{"POST", v2, auth.JobsWrite, "deetooV2Push", nil, a.legacyPush},
		{"POST", v2 + "/{id}", auth.JobsWrite, "deetooV2PushID", nil, a.legacyPushID},
		{"DELETE", v2 + "/{id}", auth.JobsWrite, "deetooV2Remove", nil, a.legacyRemove},

		{"GET", "/healthz", none, "healthz", nil, a.healthz},
		{"GET", "/readyz", none, "readyz", nil, a.readyz},
		{"GET", "/openapi.yaml", none, "getOpenAPI", nil, a.openAPI},
		{"GET", "/docs", none, "getDocs", nil, a.docsIndex},
		{"GET", "/docs/{file}", none, "getDocsFile", nil, a.docsFile},
	}
}

// fiberPath writes an OpenAPI path the way Fiber wants it.
func fiberPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// handle wraps a row's handler: who is it, may they, is the address right.
func (a *API) handle(row Route) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx, cancel := context.WithTimeout(c.UserContext(), a.opts.Timeout)
		defer cancel()
		r := &request{Ctx: c, ctx: ctx}
		if row.Scope != "" {
			who, err := a.identify(ctx, c)
			if err != nil {
				return err
			}
			// The job type is checked by intake, which knows what is meant.
			if err := who.Require(row.Scope, ""); err != nil {
				return err
			}
			r.who = who
			if err := checkQuery(c, row.Query); err != nil {
				return err
			}
		}
		return row.handler(r)
	}
}

func (a *API) identify(ctx context.Context, c *fiber.Ctx) (*auth.Identity, error) {
	token, err := auth.BearerToken(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return nil, err
	}
	return a.opts.Verifier.Verify(ctx, token)
}

// checkQuery refuses unknown parameters, which are misspelt known ones, and
// those given twice.
func checkQuery(c *fiber.Ctx, known []string) error {
	args := c.Context().QueryArgs()
	if args.Len() == 0 {
		return nil
	}
	var err error
	seen := map[string]bool{}
	args.VisitAll(func(key, _ []byte) {
		name := string(key)
		switch {
		case err != nil:
		case !slices.Contains(known, name) && len(known) == 0:
			err = invalid.Errorf(shortened(name), "is not a query parameter; there are none here")
		case !slices.Contains(known, name):
			err = invalid.Errorf(shortened(name), "is not a query parameter; there are: %s", strings.Join(known, ", "))
		case seen[name]:
			err = invalid.Errorf(name, "is given twice")
		}
		seen[name] = true
	})
	return err
}
