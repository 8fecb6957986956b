# The request loop of one lane: read by a shell on the host from its standard input, after the profile of the account.
# Replaced before it is sent: @TOKEN@, @LIBRARY_BYTES@. Standard output carries answers and nothing else.
set +eu
unalias -a 2>/dev/null
unset IFS CDPATH
jf_mask=$(umask)
umask 077
for jf_tool in mktemp head tail tar sha256sum timeout xargs find stat cut sed grep paste wc; do
    command -v "$jf_tool" >/dev/null 2>&1 || { printf '%s broken it has no program %s\n' @TOKEN@ "$jf_tool"; exit 1; }
done
jf_dir=$(mktemp -d "${TMPDIR:-/tmp}/jobferry.XXXXXXXXXX" 2>/dev/null) || {
    printf '%s broken no directory can be made in %s\n' @TOKEN@ "${TMPDIR:-/tmp}"
    exit 1
}
trap 'rm -rf -- "$jf_dir"' EXIT
trap 'exit 1' HUP INT TERM
head -c @LIBRARY_BYTES@ >"$jf_dir/library" || { printf '%s broken %s is full\n' @TOKEN@ "$jf_dir"; exit 1; }
jf_tar=
case $(tar --version 2>/dev/null) in *GNU*) jf_tar='--format=gnu --hard-dereference' ;; esac
# From here on nothing but answers: whatever complains does it into nothing.
exec 2>/dev/null
printf '%s ready %s %s\n' @TOKEN@ "$$" "$jf_dir"
while IFS=' ' read -r jf_token jf_bytes; do
    [ "$jf_token" = @TOKEN@ ] || exit 1
    head -c "$jf_bytes" >"$jf_dir/batch" || exit 1
    sh "$jf_dir/batch" "$jf_dir" "$jf_token" "$jf_mask" "$jf_tar"
    printf '\n%s end\n' @TOKEN@
done
