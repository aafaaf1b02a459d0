#!/bin/sh
# A nightly pipeline: load a day, then write its report, in one session on a server of its own. Each exit code has its answer.
#   nightly.sh DAY [FOLDER]     cron: 15 2 * * * /opt/nightly/nightly.sh "$(date -d yesterday +\%F)" /var/reports
set -u
day=${1:?usage: nightly.sh DAY [FOLDER]}
folder=${2:-.}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

run() {
    dh-kernel run --timeout "${NIGHTLY_TIMEOUT:-900}" --grace 10 -p "day=$day" --output "$folder/report-$day.ipynb" \
        "$here/load.py" "$day" --then "$here/report.ipynb"
}

attempt=1
while :; do
    run
    code=$?
    case $code in
        0)
            echo "report of $day: $folder/report-$day.ipynb"
            exit 0
            ;;
        1) echo "nightly: the code failed; the notebook, if it came that far, shows where" >&2 ;;
        2 | 4)
            if [ "$attempt" -lt 3 ]; then # the machine's fault, or the memory's: worth another try
                echo "nightly: no server, or it died (exit code $code); trying again" >&2
                attempt=$((attempt + 1))
                sleep "${NIGHTLY_PAUSE:-60}"
                continue
            fi
            echo "nightly: no server after $attempt attempts" >&2
            ;;
        3) echo "nightly: not done in time; what there is has been kept" >&2 ;;
        10)
            echo "nightly: no trades on $day" # load.py says so by sys.exit(10)
            exit 0
            ;;
        64) echo "nightly: this script calls dh-kernel wrongly" >&2 ;;
        *) echo "nightly: ended with $code" >&2 ;;
    esac
    exit "$code"
done
