# Sets jf_python to the Python of the job: JF_PYTHON, which pre_run and export may set, else the first of python3 and python
# in PATH. Where there is none, that is the job's result.
jf_find_python() {
  jf_tried=${JF_PYTHON:-python3 and python}
  for jf_python in ${JF_PYTHON:+"$JF_PYTHON"} python3 python; do
    if command -v "$jf_python" >/dev/null 2>&1; then return 0; fi
    [ -z "${JF_PYTHON:-}" ] || break
  done
  jf_error="There is no Python on $(uname -n): $jf_tried cannot be found, and PATH is $PATH. Activate an environment that has jobflow in the worker's pre_run, or set JF_PYTHON to the path of its Python."
  echo "JobFerry: $jf_error" >&2
  jf_error=$(printf %s "$jf_error" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')
  jf_time='{"@module": "datetime", "@class": "datetime", "string": "'$(date -u '+%Y-%m-%d %H:%M:%S')'+00:00"}'
  printf '{"response": null, "error": "%s", "start_time": %s, "end_time": %s}' "$jf_error" "$jf_time" "$jf_time" \
    >| "$JF_RUN_DIR"/jfremote_out.json
  return 127
}
