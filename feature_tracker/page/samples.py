"""Texts to start with, written for this project; companies and people in them are invented."""

SAMPLES: dict[str, str] = {
    "Earnings: a quarter of growth": (
        "Harrow Systems reported revenue of $1.48 billion for the third quarter, an increase of 12% from the same "
        "period last year, driven by subscription renewals and higher seat counts at large customers. Gross margin "
        "widened by 140 basis points to 71.3% as hosting costs grew more slowly than sales. Operating income rose to "
        "$312 million, or 21.1% of revenue, compared with $251 million a year earlier. Net income was $236 million, "
        "or $1.07 per diluted share.\n\nThe company ended the quarter with $2.2 billion in cash and short-term "
        "investments after repurchasing 3.1 million shares for $190 million. Management raised its full-year revenue "
        "guidance to a range of $5.86 billion to $5.91 billion and now expects free cash flow of at least $1.2 "
        "billion. It cautioned that longer approval cycles among public-sector customers could weigh on new bookings "
        "in the fourth quarter, and that a stronger dollar would reduce reported revenue by about one percentage point."
    ),
    "Earnings: a profit warning": (
        "Bellweather Home said today that sales in its fourth quarter would fall short of earlier expectations. "
        "Comparable-store sales declined 6.8%, with traffic weak in every region and the sharpest drop in furniture "
        "and outdoor goods. The company now expects an adjusted loss of between $0.15 and $0.22 per share, against a "
        "profit of $0.41 in the prior-year quarter.\n\nTo bring down inventory, which stood 19% above plan at the end "
        "of the period, promotions were deeper and began earlier than intended, and this cost about 310 basis points "
        "of gross margin. Bellweather will close 42 stores, cut its capital budget for the coming year by a third and "
        "suspend its quarterly dividend. It expects to record a goodwill impairment charge of roughly $85 million. The "
        "chief financial officer said the company remained in compliance with the covenants of its revolving credit "
        "facility, of which $140 million was drawn, and had opened talks with its lenders about more headroom."
    ),
    "Monetary policy: a rate decision": (
        "The Committee decided to keep the target range for the policy rate unchanged. Recent indicators suggest that "
        "economic activity has expanded at a moderate pace. Job gains have slowed since the spring, and the "
        "unemployment rate has edged up but remains low. Inflation has eased over the past year but is still somewhat "
        "above the longer-run goal of 2 percent.\n\nMembers judged that the risks to employment and to inflation were "
        "moving into better balance. Several participants noted that services prices excluding housing were still "
        "rising faster than would be consistent with price stability, while a few saw signs that wage growth was "
        "cooling. In considering any adjustments to the stance of policy, the Committee will carefully assess "
        "incoming data, the evolving outlook, and the balance of risks. It does not expect that it will be "
        "appropriate to lower the target range until it has gained greater confidence that inflation is moving "
        "sustainably toward 2 percent. The Committee will continue to reduce its holdings of government securities."
    ),
    "Monetary policy: minutes on the outlook": (
        "Participants discussed how tighter financial conditions were passing through to spending. Business contacts "
        "in several districts reported that higher borrowing costs had led them to delay construction projects, and "
        "that bank lending standards for commercial real estate had tightened further. Household spending had held up, "
        "supported by solid gains in real income, though delinquency rates on credit cards and auto loans had risen "
        "for borrowers with low scores.\n\nThe staff projected that real GDP growth would slow in the second half of "
        "the year and then recover gradually. Longer-term inflation expectations appeared well anchored. Some "
        "participants observed that productivity might be rising faster than the staff assumed, which would allow "
        "output to grow without adding to price pressures. A number of participants pointed to upside risks from energy "
        "prices and from disruptions to shipping. Two members preferred to begin reducing the policy rate at this "
        "meeting, arguing that monetary policy acts with long and variable lags."
    ),
    "Credit: a bond and a downgrade": (
        "The rating agency lowered the issuer rating of Castellan Chemicals to BB- from BB+ and kept the outlook "
        "negative. Debt to EBITDA reached 5.4 times at the end of June, well above the 4.0 times that had been "
        "expected, after weak demand for coatings met higher feedstock costs. The agency expects leverage to stay above "
        "5 times for at least the next four quarters and interest cover to fall below 2.5 times.\n\nThe company's $650 "
        "million of senior unsecured notes, which carry a coupon of 6.125% and mature in four years, fell three points "
        "to 88.5 cents on the dollar, for a yield to worst of about 9.9%. Its five-year credit default swap spread "
        "widened by 110 basis points. A $400 million term loan becomes due in eighteen months; the agency said that "
        "refinancing it on acceptable terms was likely but would depend on asset sales. Recovery prospects for "
        "unsecured creditors in a default were estimated at 30% to 40%."
    ),
    "Mergers: a bid for a rival": (
        "Northgate Freight agreed to acquire Palisade Logistics for $3.9 billion in cash and stock. Palisade "
        "shareholders will receive $21.50 in cash and 0.42 of a Northgate share for every share they own, a premium of "
        "34% to the closing price before the talks were reported. Including assumed debt of $1.1 billion, the deal "
        "values Palisade at about 11 times its expected EBITDA.\n\nNorthgate said that combining depots, fleets and "
        "purchasing would bring annual cost savings of $180 million within three years, at a one-time cost of $220 "
        "million. It has committed bridge financing from two banks and intends to replace it with term loans and notes. "
        "The boards of both companies approved the agreement unanimously. Completion requires the consent of Palisade's "
        "shareholders and of competition authorities in four countries and is expected in the first half of next year. "
        "If regulators block the transaction, Northgate will owe a termination fee of $150 million."
    ),
    "Commodities: oil, copper and wheat": (
        "Crude oil prices rose for a third day after producers signaled that they would extend output cuts through the "
        "end of the quarter. The front-month contract settled $1.84 higher at $82.37 a barrel, and the curve moved "
        "further into backwardation. Stocks at the main storage hub fell by 2.6 million barrels, more than analysts had "
        "forecast, while refinery utilization climbed to 92%.\n\nCopper gained 1.2% to $9,415 a tonne on hopes for "
        "new infrastructure spending and on lower treatment charges, which point to tight supplies of concentrate. A "
        "strike at a large mine entered its second week. Wheat futures fell to their lowest level since August as rain "
        "improved the outlook for the winter crop and exporters offered grain at a discount. Gold was little changed at "
        "$2,340 an ounce, with higher real yields offsetting demand from central banks."
    ),
    "Currencies: a sharp move": (
        "The dollar weakened against most major currencies after softer inflation figures led traders to bring forward "
        "the first expected rate cut. The euro rose 0.9% to $1.0985, its strongest in four months, and sterling gained "
        "0.7%. The yen jumped more than 2% within an hour to 151.20 per dollar, a move that prompted speculation about "
        "official intervention; the finance ministry declined to comment.\n\nOne-month implied volatility in dollar-yen "
        "climbed to 11.4% from 8.9%, and risk reversals showed the strongest demand for yen calls since the spring. "
        "Carry trades funded in yen suffered: the Mexican peso lost 1.6% and the Brazilian real 1.1%. In emerging Asia, "
        "central banks were seen buying dollars to slow the appreciation of their currencies. Strategists said that the "
        "widening gap in growth between regions, rather than interest-rate differentials alone, would decide how far the "
        "dollar's decline can go."
    ),
    "Regulation: bank capital rules": (
        "Supervisors published a revised proposal for the capital that large banks must hold. Under it, banks with more "
        "than $100 billion in assets would calculate risk-weighted assets for credit, market and operational risk with "
        "standardized approaches, and internal models would no longer lower requirements below an output floor of "
        "72.5%. Common equity tier 1 requirements would rise by an estimated 9% in aggregate, about half of the increase "
        "in the first version.\n\nMortgages and retail exposures to small firms would receive lower risk weights than "
        "before, and fee income would count for less in the operational-risk charge. Firms would have three years to "
        "comply, beginning next July. In their comments, banks argued that the rule could push trading and lending to "
        "less regulated institutions; consumer groups warned against any further softening. The agencies will accept "
        "written comments for sixty days and must vote again before a final rule takes effect."
    ),
    "Risk factors: an annual report": (
        "Our business depends on a limited number of suppliers, and any interruption could adversely affect our results "
        "of operations. We purchase certain components from single sources and do not have long-term agreements with all "
        "of them. If a supplier fails to deliver on time, we may be unable to meet customer demand, and our revenue and "
        "reputation could be harmed.\n\nWe are subject to laws and regulations relating to privacy, data protection and "
        "export controls, which are complex and change frequently. Failure to comply could result in litigation, fines "
        "or restrictions on our operations. Our indebtedness may limit our ability to obtain additional financing and "
        "requires us to dedicate a substantial portion of our cash flow to interest payments; borrowings under our "
        "credit agreement bear interest at variable rates and expose us to interest-rate risk. We may not be able to "
        "realize the anticipated benefits of acquisitions, and impairment of goodwill could have a material adverse "
        "effect on our financial condition."
    ),
    "Real estate: offices and rents": (
        "Linden Court Properties collected 97% of the rents due in the second quarter, but the value of its portfolio "
        "was marked down by 5.2%. Offices accounted for nearly all of the decline: the average net initial yield moved "
        "out to 6.1% from 5.5%, and vacancy in older buildings reached 18%. Logistics and residential assets were broadly "
        "stable, and new leases for warehouses were signed 7% above previous rents.\n\nThe trust sold two buildings for "
        "$210 million, 4% below their book value, and used the proceeds to repay floating-rate loans. Loan-to-value "
        "stands at 39.8%, against a covenant of 50%, and 84% of debt is fixed or hedged for an average of 4.6 years. "
        "Funds from operations were $0.58 per unit. The board declared a distribution of $0.36 and said that further "
        "disposals would come before any new development."
    ),
    "Insurance: a storm season": (
        "Meridian Re estimated that hurricanes and hailstorms in the third quarter caused net losses of $480 million "
        "before tax, after reinsurance recoveries and reinstatement premiums. The combined ratio for the quarter was "
        "108.6%, of which 21 points came from catastrophes; without them and without changes to earlier reserves it "
        "would have been 87.2%. Gross premiums written rose 9% as property rates increased for the seventh renewal in a "
        "row.\n\nInvestment income climbed to $165 million because maturing bonds were reinvested at higher yields. The "
        "solvency ratio remained comfortable at 212%. The company said that it would raise deductibles in exposed coastal "
        "areas and buy more aggregate cover, and that it expected sponsors of catastrophe bonds to pay wider spreads "
        "next year. It left its target for the return on equity, of 13% to 15% over the cycle, unchanged."
    ),
    "Not finance: a soup": (
        "Peel two large onions and slice them as thinly as you can. Melt a good lump of butter in a heavy pot, add the "
        "onions with a pinch of salt, and let them cook over low heat for at least forty minutes, stirring now and then, "
        "until they are soft and the color of dark honey. Do not hurry this part; it is where the flavor comes from.\n\n"
        "Pour in a glass of dry white wine and scrape the bottom of the pot with a wooden spoon. When the wine has almost "
        "gone, add a liter of warm stock, two sprigs of thyme and a bay leaf, and simmer gently for another half hour. "
        "Toast thick slices of old bread, lay one in each bowl, and ladle the soup over them. Cover with grated cheese "
        "and put the bowls under a hot grill until the cheese bubbles and browns at the edges. Eat at once, carefully, "
        "with plenty of black pepper."
    ),
    "Not finance: a walk on the coast": (
        "We left the village before sunrise and followed the path along the cliffs, with the sea still grey below us and "
        "a few gulls awake. The first miles were easy. Beyond the lighthouse the track turned inland, crossed a stream on "
        "three flat stones and climbed through gorse to an old wall where sheep were sheltering from the wind.\n\nBy noon "
        "the clouds had gone, and from the headland we could see both islands and the white line of surf around them. "
        "My sister found the nest of a falcon on a ledge; we watched the young birds stretch their wings and quarrel over "
        "a scrap of food. Later a farmer told us that the path ahead had fallen into the sea during the winter storms, so "
        "we went down to the beach and walked the last part on wet sand, racing the tide, with our boots in our hands."
    ),
}
