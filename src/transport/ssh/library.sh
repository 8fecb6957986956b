# What a batch is made of, read by each at its start (POSIX sh, coreutils, tar, find, xargs). Arguments: scratch directory,
# token, umask of the account, options of tar. Standard input carries the data in the order of the calls, standard output the
# answers: a line "TOKEN NUMBER WORD …", then as many bytes as the line says. All variables begin with jf_, because those of the
# account's environment go on to the scripts that are run.
jf_dir=$1 jf_token=$2 jf_mask=$3 jf_tar=$4
umask 077

say() { printf '%s %s\n' "$jf_token" "$*"; }

# A full scratch directory would cut answers short: seen here, before anything is done.
{ printf '%4096s' x >"$jf_dir/err"; } 2>/dev/null || { say 0 full; exit 0; }

# tell NUMBER WORD FILE: an answer with the words of a program.
tell() {
    jf_size=$(($(wc -c <"$3")))
    [ "$jf_size" -le 8000 ] || jf_size=8000
    say "$1 $2 $jf_size"
    head -c "$jf_size" "$3"
}

failed() { tell "$1" failed "$jf_dir/err"; }

quiet() { LC_ALL=C "$@" </dev/null >/dev/null 2>"$jf_dir/err"; }

there() { [ -e "$1" ] || [ -L "$1" ]; }

# Whether the last complaint says no more than that there is nothing of the name.
says_missing() { LC_ALL=C grep -q -e 'No such file or directory' -e 'Not a directory' "$jf_dir/err"; }

# ---- put -----------------------------------------------------------------------------------------------------------

put_begin() {
    exec 5>"$jf_dir/stages" 6>"$jf_dir/trash"
    : >"$jf_dir/names"
    : >"$jf_dir/sums"
}

# stage NUMBER STAGING
stage() {
    eval "jf_bad_$1="
    if there "$2" && ! quiet rm -rf -- "$2"; then
        failed "$1"
        eval "jf_bad_$1=told"
        return 0
    fi
    printf '%s\0' "$2" >&5
}

# unpack BYTES FILES: the archive holds the files below their staging directories, then "names" and "sums" of them.
unpack() {
    exec 5>&-
    LC_ALL=C xargs -0 mkdir -p -- <"$jf_dir/stages" >/dev/null 2>&1
    # The rest is read away if tar gives up, or the next data would begin in the middle of these.
    head -c "$1" | {
        LC_ALL=C tar -x -p -o -m -f - -C / >/dev/null 2>"$jf_dir/tar.err"
        cat >/dev/null
    }
    verify "$2"
}

hashes() { LC_ALL=C xargs -0 sha256sum -- <"$jf_dir/names" 2>/dev/null | sed 's/^\\//' | cut -c 1-64; }

verify() {
    jf_all=bad
    [ "$(($(wc -l <"$jf_dir/sums")))" -eq "$1" ] || return 0
    jf_all=good
    [ "$1" -gt 0 ] || return 0
    [ "$(cut -d ' ' -f 1 "$jf_dir/sums")" != "$(hashes)" ] || return 0
    # shellcheck disable=SC2016
    xargs -0 -n 1 sh -c 'jf=$(sha256sum <"$1") && printf "%s\n" "${jf%% *}" || echo -' sh \
        <"$jf_dir/names" >"$jf_dir/got" 2>/dev/null
    exec 8<"$jf_dir/sums" 9<"$jf_dir/got"
    while read -r jf_want jf_number <&8; do
        read -r jf_got <&9 || jf_got=-
        [ "$jf_want" = "$jf_got" ] || eval "jf_bad_$jf_number=\${jf_bad_$jf_number:-bad}"
    done
    exec 8<&- 9<&-
}

# commit NUMBER STAGING DIRECTORY TRASH MARKER [IF_EXISTS ASIDE TRASH_OF_ASIDE]
commit() {
    eval "jf_bad=\$jf_bad_$1"
    [ "$jf_bad" != told ] || return 0
    if [ "$jf_all$jf_bad" != good ]; then
        spoiled "$1" "$2"
    elif make_way "$@"; then
        if quiet mv -T -- "$2" "$3"; then
            ! there "$4" || printf '%s\0' "$4" >&6
            say "$1 done"
            return 0
        fi
        failed "$1"
    fi
    quiet rm -rf -- "$2"
}

# Tells why what arrived is not what was sent: the words of mkdir or tar, or nothing.
spoiled() {
    if [ ! -d "$2" ] && ! quiet mkdir -p -- "$2"; then
        failed "$1"
        return 0
    fi
    LC_ALL=C grep -F -e "${2#/}" "$jf_dir/tar.err" >"$jf_dir/err" || cat "$jf_dir/tar.err" >"$jf_dir/err"
    tell "$1" corrupt "$jf_dir/err"
}

make_way() {
    if [ -n "${6-}" ] && there "$3/$6"; then
        if discard "$7" "$8" && quiet mv -T -- "$3" "$7"; then
            ! there "$8" || printf '%s\0' "$8" >&6
            return 0
        fi
        failed "$1"
    elif marked "$3" "$5"; then
        discard "$3" "$4" && return 0
        failed "$1"
    else
        # Of what is not marked only an empty directory may go.
        ! there "$3" || quiet rmdir -- "$3" && return 0
        tell "$1" unmarked "$jf_dir/err"
    fi
    return 1
}

marked() { [ ! -L "$1" ] && [ -d "$1" ] && there "$1/$2"; }

# discard DIRECTORY TRASH: out of sight at once, so that nothing half removed bears the name.
discard() {
    there "$1" || return 0
    ! there "$2" || quiet rm -rf -- "$2" || return 1
    quiet mv -T -- "$1" "$2"
}

sweep() {
    exec 6>&-
    [ ! -s "$jf_dir/trash" ] || LC_ALL=C xargs -0 rm -rf -- <"$jf_dir/trash" >/dev/null 2>&1
}

# ---- remove --------------------------------------------------------------------------------------------------------

trees_begin() { exec 6>"$jf_dir/trash"; }

# tree NUMBER DIRECTORY TRASH MARKER
tree() {
    eval "jf_bad_$1=told"
    if ! there "$2"; then
        # What cannot be seen is not gone.
        quiet stat -- "$2" || says_missing || { failed "$1"; return 0; }
    elif marked "$2" "$4"; then
        discard "$2" "$3" || { failed "$1"; return 0; }
    else
        : >"$jf_dir/err"
        tell "$1" unmarked "$jf_dir/err"
        return 0
    fi
    eval "jf_bad_$1="
    ! there "$3" || printf '%s\0' "$3" >&6
}

# gone NUMBER TRASH
gone() {
    eval "jf_bad=\$jf_bad_$1"
    [ -z "$jf_bad" ] || return 0
    if there "$2" && ! quiet rm -rf -- "$2"; then failed "$1"; else say "$1 done"; fi
}

remove_begin() { exec 5>"$jf_dir/files"; }

file() { printf '%s\0' "$1" >&5; }

remove_end() {
    exec 5>&-
    if [ ! -s "$jf_dir/files" ] || LC_ALL=C xargs -0 rm -f -- <"$jf_dir/files" >/dev/null 2>"$jf_dir/err"; then
        say "$1 done"
    else
        failed "$1"
    fi
}

# ---- list ----------------------------------------------------------------------------------------------------------

# list NUMBER DIRECTORY
list() {
    if [ ! -d "$2" ]; then
        quiet ls -d -- "$2/" || :
        tell "$1" unlisted "$jf_dir/err"
    elif (cd -- "$2" && LC_ALL=C exec find . ! -name . -prune -exec printf '%s\0' '{}' +) \
        </dev/null >"$jf_dir/out" 2>"$jf_dir/err"; then
        say "$1 names $(($(wc -c <"$jf_dir/out")))"
        cat "$jf_dir/out"
    else
        failed "$1"
    fi
}

# ---- fetch ---------------------------------------------------------------------------------------------------------

fetch_begin() {
    exec 5>"$jf_dir/present" 6>"$jf_dir/present.numbers" 7>"$jf_dir/absent" 8>"$jf_dir/absent.numbers"
}

# from DIRECTORY: of the files that follow.
from() { jf_from=$1 jf_root=; }

# whole NUMBER PATH LIMIT
whole() {
    seek "$1" "$2" || return 0
    eval "jf_path_$1=\$jf_path jf_limit_$1=\$3"
    printf '%s\0' "$jf_path" >&5
    echo "$1" >&6
}

# part NUMBER PATH BYTES: the end, from a copy, because the file of a running job grows.
part() {
    seek "$1" "$2" || return 0
    if LC_ALL=C tail -c "$3" -- "$jf_path" </dev/null >"$jf_dir/part.$1" 2>"$jf_dir/err"; then
        eval "jf_path_$1=\$jf_dir/part.\$1 jf_limit_$1=9223372036854775807"
        printf '%s\0' "$jf_dir/part.$1" >&5
        echo "$1" >&6
    else
        tell "$1" unread "$jf_dir/err"
    fi
}

# Sets jf_path to a regular readable file below the directory, or notes why there is none.
seek() {
    jf_path=$jf_from/$2
    if linked "$2" && ! inside; then
        say "$1 missing"
        return 1
    fi
    if [ ! -f "$jf_path" ]; then
        eval "jf_path_$1=\$jf_path"
        printf '%s\0' "$jf_path" >&7
        echo "$1" >&8
        return 1
    fi
    [ -r "$jf_path" ] || quiet head -c 1 -- "$jf_path" && return 0
    tell "$1" unread "$jf_dir/err"
    return 1
}

# Whether a link lies on the way from the directory.
linked() {
    jf_at=$jf_from jf_rest=$1
    while :; do
        jf_name=${jf_rest%%/*}
        jf_at=$jf_at/$jf_name
        [ ! -L "$jf_at" ] || return 0
        [ "$jf_name" != "$jf_rest" ] || return 1
        jf_rest=${jf_rest#*/}
    done
}

# Whether the end of the links is below the directory. The x keeps newlines at the end of a name.
inside() {
    [ -n "$jf_root" ] || jf_root=$(cd -P -- "$jf_from" && pwd -P && printf x)
    jf_end=$(readlink -f -- "$jf_path" && printf x)
    case ${jf_end%?x} in "${jf_root%?x}"/*) return 0 ;; esac
    return 1
}

fetch_end() {
    exec 5>&- 6>&- 7>&- 8>&-
    absent
    [ -s "$jf_dir/present.numbers" ] || return 0
    LC_ALL=C xargs -0 stat -L -c %s -- <"$jf_dir/present" >"$jf_dir/sizes" 2>/dev/null
    same_lines sizes present.numbers || { changed present.numbers; return 0; }
    choose
    [ -s "$jf_dir/send.numbers" ] || return 0
    (cd / && LC_ALL=C xargs -0 sha256sum -- <"$jf_dir/send" 2>/dev/null | sed 's/^\\//' | cut -c 1-64) >"$jf_dir/hashes"
    same_lines hashes send.numbers || { changed send.numbers; return 0; }
    paste -d ' ' "$jf_dir/send.numbers" "$jf_dir/hashes" | while read -r jf_number jf_size jf_hash; do
        say "$jf_number file $jf_size $jf_hash"
    done
    say 0 archive
    # shellcheck disable=SC2086
    (cd / && LC_ALL=C exec tar -c -h -b 1 $jf_tar --no-recursion --null -T "$jf_dir/send" -f -) </dev/null 2>/dev/null
    rm -f -- "$jf_dir"/part.*
}

same_lines() { [ "$(($(wc -l <"$jf_dir/$1")))" -eq "$(($(wc -l <"$jf_dir/$2")))" ]; }

changed() {
    while read -r jf_number jf_rest; do say "$jf_number changed"; done <"$jf_dir/$1"
}

choose() {
    exec 5>"$jf_dir/send" 6>"$jf_dir/send.numbers" 8<"$jf_dir/present.numbers" 9<"$jf_dir/sizes"
    while read -r jf_number <&8 && read -r jf_size <&9; do
        jf_limit=0
        eval "jf_limit=\$jf_limit_$jf_number jf_path=\$jf_path_$jf_number"
        if [ "$jf_size" -gt "$jf_limit" ]; then
            say "$jf_number large $jf_size"
        else
            printf '.%s\0' "$jf_path" >&5
            echo "$jf_number $jf_size" >&6
        fi
    done
    exec 5>&- 6>&- 8<&- 9<&-
}

# What is no file here may also be a file that cannot be seen; one question about all tells, mostly.
absent() {
    [ -s "$jf_dir/absent.numbers" ] || return 0
    LC_ALL=C xargs -0 stat -L -- <"$jf_dir/absent" >/dev/null 2>"$jf_dir/err"
    jf_odd=$(LC_ALL=C grep -v -c -e 'No such file or directory' -e 'Not a directory' "$jf_dir/err")
    while read -r jf_number; do
        eval "jf_path=\$jf_path_$jf_number"
        if [ "$jf_odd" = 0 ] || quiet stat -L -- "$jf_path" || says_missing || looped; then
            say "$jf_number missing"
        else
            tell "$jf_number" unread "$jf_dir/err"
        fi
    done <"$jf_dir/absent.numbers"
}

looped() { LC_ALL=C grep -q 'Too many levels of symbolic links' "$jf_dir/err"; }

# ---- run -----------------------------------------------------------------------------------------------------------

# take BYTES FILE: the next bytes of the data; all are read even if the file cannot take them.
take() {
    head -c "$1" | {
        LC_ALL=C cat >"$2" 2>"$jf_dir/err"
        cat >/dev/null
    }
    [ "$(($(wc -c <"$2")))" -eq "$1" ]
}

# run NUMBER SECONDS GRACE PATIENCE STDOUT_BYTES STDERR_BYTES INPUT_BYTES SCRIPT
run() {
    jf_input=/dev/null
    if [ "$7" -gt 0 ]; then
        jf_input=$jf_dir/input
        take "$7" "$jf_input" || { failed "$1"; return 0; }
    fi
    { printf '%s' "$8" >"$jf_dir/script"; } 2>"$jf_dir/err" || { failed "$1"; return 0; }
    rm -f -- "$jf_dir/code" "$jf_dir/err"
    # The programs that collect have a limit of their own, for processes that stay behind and hold the pipes.
    # shellcheck disable=SC2016
    {
        {
            {
                timeout -k "$3" "$2" sh -c 'echo "$PPID" >"$1/group"; umask "$2"; cd; exec sh "$1/script"' \
                    sh "$jf_dir" "$jf_mask" <"$jf_input"
                echo "$?" >"$jf_dir/code"
            } 2>&1 >&3 3>&- | timeout "$4" tail -c "$6" >"$jf_dir/stderr"
        } 3>&1 | LC_ALL=C timeout "$4" head -c "$(($5 + 1))" >"$jf_dir/stdout" 2>"$jf_dir/err"
    }
    jf_collected=$?
    jf_code=124
    [ ! -s "$jf_dir/code" ] || read -r jf_code <"$jf_dir/code"
    case $jf_collected in
    0) [ "$jf_code" != 137 ] || ! overdue "${2%.*}" || jf_code=124 ;;
    124) jf_code=124 ;;
    *) failed "$1"; return 0 ;;
    esac
    if [ "$jf_code" = 124 ] && [ -s "$jf_dir/group" ]; then
        read -r jf_group <"$jf_dir/group"
        kill -s KILL -- "-$jf_group" 2>/dev/null
    fi
    rm -f -- "$jf_dir/group"
    ran "$1" "$5"
}

# Exit code 137 is what both a SIGKILL of its own and the one after the grace time leave; the clock tells which.
overdue() { [ "$(($(date +%s) - $(stat -c %Y -- "$jf_dir/script")))" -gt "$(($1 + 1))" ]; }

ran() {
    jf_number=$1 jf_most=$2
    # shellcheck disable=SC2046
    set -- $(stat -c %s -- "$jf_dir/stdout" "$jf_dir/stderr")
    if [ "$1" -gt "$jf_most" ]; then
        say "$jf_number endless"
    else
        say "$jf_number ran $jf_code $1 $2"
        cat "$jf_dir/stdout" "$jf_dir/stderr"
    fi
    rm -f -- "$jf_dir/stdout" "$jf_dir/stderr" "$jf_dir/input"
}
